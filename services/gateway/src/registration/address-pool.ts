import { containsAddress, firstAddress, lastAddress, type Ipv4, type Ipv4Network } from "@dstack/wireguard";

export interface AddressPool {
  /** Own address and the network that all nodes share. */
  readonly ip: Ipv4Network;
  readonly reserved: readonly Ipv4Network[];
  /** The part of the network that this node hands out. */
  readonly pool: Ipv4Network;
}

/** Whether a CVM may have this address: in the pool, and not the gateway's, the network's, its broadcast or a reserved one. */
export function isAssignable(pool: AddressPool, address: Ipv4): boolean {
  return (
    containsAddress(pool.pool, address) &&
    address !== pool.ip.address &&
    address !== firstAddress(pool.ip) &&
    address !== lastAddress(pool.ip) &&
    !pool.reserved.some((network) => containsAddress(network, address))
  );
}

/** The lowest assignable address that is not taken, undefined when all are. */
export function allocateAddress(pool: AddressPool, taken: (address: Ipv4) => boolean): Ipv4 | undefined {
  const last = lastAddress(pool.pool);
  for (let address = firstAddress(pool.pool); address <= last; address++) {
    if (isAssignable(pool, address) && !taken(address)) return address;
  }
  return undefined;
}
