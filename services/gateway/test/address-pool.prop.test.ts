import { test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  containsAddress,
  firstAddress,
  formatIpv4,
  lastAddress,
  parseNetwork,
  type Ipv4Network,
} from "@dstack/wireguard";
import { allocateAddress, type AddressPool } from "../src/registration/address-pool.ts";
import { checkNetworks } from "../src/config/gateway-config.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

/** A network of 8 to 2048 addresses, a pool inside it, the gateway and reserved networks anywhere in it. */
const pools: fc.Arbitrary<AddressPool> = fc
  .record({
    base: fc.nat({ max: 0xffff }),
    prefix: fc.integer({ min: 21, max: 29 }),
    own: fc.nat(),
    deeper: fc.nat({ max: 4 }),
    at: fc.nat(),
    reserved: fc.array(fc.record({ at: fc.nat(), prefix: fc.integer({ min: 28, max: 32 }) }), { maxLength: 3 }),
  })
  .map(({ base, prefix, own, deeper, at, reserved }) => {
    const network = { address: (10 << 24) + base * 256, prefix };
    const within = (n: number): number =>
      firstAddress(network) + (n % (lastAddress(network) - firstAddress(network) + 1));
    const inside = (n: number, length: number): Ipv4Network => ({
      address: within(n),
      prefix: Math.min(32, Math.max(prefix, length)),
    });
    return {
      ip: { address: within(own), prefix },
      reserved: reserved.map((row) => inside(row.at, row.prefix)),
      pool: inside(at, prefix + deeper),
    };
  });

test("every address handed out is in the pool, free, and nobody else's: not the gateway's, the network's, its broadcast or a reserved one", () => {
  fc.assert(
    fc.property(pools, (pool) => {
      const taken = new Set<number>();
      for (;;) {
        const address = allocateAddress(pool, (candidate) => taken.has(candidate));
        if (address === undefined) break;
        assert.ok(!taken.has(address));
        assert.ok(containsAddress(pool.pool, address));
        assert.notEqual(address, pool.ip.address);
        assert.notEqual(address, firstAddress(pool.ip));
        assert.notEqual(address, lastAddress(pool.ip));
        assert.ok(!pool.reserved.some((network) => containsAddress(network, address)));
        taken.add(address);
      }
      for (let address = firstAddress(pool.pool); address <= lastAddress(pool.pool); address++) {
        const special =
          address === pool.ip.address ||
          address === firstAddress(pool.ip) ||
          address === lastAddress(pool.ip) ||
          pool.reserved.some((network) => containsAddress(network, address));
        assert.equal(taken.has(address), !special, `all usable addresses are used: ${formatIpv4(address)}`);
      }
    }),
    { numRuns: 60 },
  );
});

vectorTest("judges the wireguard section's networks as the vectors say", "gateway/wg-validate.json", ({ json }) => {
  const { cases } = json<{
    cases: { ip: string; reserved_net: string[]; client_ip_range: string; ok?: boolean; error?: string }[];
  }>("gateway/wg-validate.json");
  for (const row of cases) {
    const check = (): void =>
      checkNetworks(parseNetwork(row.ip), row.reserved_net.map(parseNetwork), parseNetwork(row.client_ip_range));
    if (row.ok === true) check();
    else assert.throws(check, (error: Error) => error.message.includes(row.error ?? "?"));
  }
});
