import { formatIpv4, parseWireGuardKey, type Ipv4, type WireGuardKey } from "@dstack/wireguard";
import { GatewayError } from "../errors.ts";
import { allocateAddress, isAssignable, type AddressPool } from "./address-pool.ts";
import type { Instance } from "./instance.ts";
import type { PortPolicy } from "./port-policy.ts";

export interface RegistrationRequest {
  readonly appId: string;
  readonly instanceId: string;
  readonly composeHash: string;
  readonly publicKey: string;
  readonly portPolicy: PortPolicy | undefined;
}

/** Called after a change that adds or removes an instance of the app. */
export type MembershipListener = (appId: string) => void;

/**
 * The registered instances with their addresses. One key, one address and one app per instance,
 * none shared; what would break that is refused and changes nothing.
 */
export class Registry {
  readonly #pool: AddressPool;
  readonly #onMembership: MembershipListener;
  readonly #byId = new Map<string, Instance>();
  readonly #byKey = new Map<WireGuardKey, string>();
  readonly #byAddress = new Map<Ipv4, string>();
  readonly #byApp = new Map<string, Set<string>>();

  constructor(pool: AddressPool, onMembership: MembershipListener = () => undefined) {
    this.#pool = pool;
    this.#onMembership = onMembership;
  }

  get size(): number {
    return this.#byId.size;
  }

  get(instanceId: string): Instance | undefined {
    return this.#byId.get(instanceId);
  }

  /** The app's instances in the order of their ids; empty for an unknown app. */
  ofApp(appId: string): Instance[] {
    const ids = [...(this.#byApp.get(appId) ?? [])].sort();
    return ids.map((id) => this.#byId.get(id) as Instance);
  }

  hasApp(appId: string): boolean {
    return this.#byApp.has(appId);
  }

  /** All instances in the order of their ids. */
  all(): Instance[] {
    return [...this.#byId.keys()].sort().map((id) => this.#byId.get(id) as Instance);
  }

  /**
   * Adds an instance or brings it up to date.
   * @throws GatewayError `registration-refused` (ids, key, identity collisions), `pool-exhausted`
   */
  register(request: RegistrationRequest, nowSeconds: number): Instance {
    const who = `[${request.instanceId}]`;
    if (request.appId === "") throw refused(`${who} app id is empty`);
    if (request.instanceId === "") throw refused(`${who} instance id is empty`);
    const publicKey = checkedKey(request.publicKey, who);
    const owner = this.#byKey.get(publicKey);
    if (owner !== undefined && owner !== request.instanceId)
      throw refused("WireGuard public key is already registered to another instance");
    const known = this.#byId.get(request.instanceId);
    if (known !== undefined && known.appId !== request.appId)
      throw refused("instance_id is already registered to a different app");
    const address = known !== undefined && isAssignable(this.#pool, known.address) ? known.address : this.#allocate();
    const sameCompose = known?.composeHash === request.composeHash;
    const instance: Instance = {
      instanceId: request.instanceId,
      appId: request.appId,
      address,
      publicKey,
      composeHash: request.composeHash,
      registeredAt: known?.publicKey === publicKey ? known.registeredAt : nowSeconds,
      portPolicy: request.portPolicy ?? (sameCompose ? known?.portPolicy : undefined),
    };
    this.#put(instance);
    return instance;
  }

  /**
   * Takes over a stored instance.
   * @returns why it was left out, or undefined when it is in
   */
  restore(instance: Instance): string | undefined {
    if (this.#byId.has(instance.instanceId)) return `instance ${instance.instanceId} is stored twice`;
    if (this.#byKey.has(instance.publicKey)) return `the key of instance ${instance.instanceId} is stored twice`;
    if (this.#byAddress.has(instance.address))
      return `address ${formatIpv4(instance.address)} of instance ${instance.instanceId} is stored twice`;
    if (!isAssignable(this.#pool, instance.address))
      return `address ${formatIpv4(instance.address)} of instance ${instance.instanceId} is not one that core.wg hands out`;
    this.#put(instance);
    return undefined;
  }

  /** Remembers a learned policy; nothing happens when the instance changed its compose hash meanwhile. */
  setPortPolicy(instanceId: string, composeHash: string, policy: PortPolicy): boolean {
    const instance = this.#byId.get(instanceId);
    if (instance === undefined || instance.composeHash !== composeHash) return false;
    this.#byId.set(instanceId, { ...instance, portPolicy: policy });
    return true;
  }

  remove(instanceId: string): boolean {
    const instance = this.#byId.get(instanceId);
    if (instance === undefined) return false;
    this.#byId.delete(instanceId);
    this.#byKey.delete(instance.publicKey);
    this.#byAddress.delete(instance.address);
    const app = this.#byApp.get(instance.appId);
    app?.delete(instanceId);
    if (app?.size === 0) this.#byApp.delete(instance.appId);
    this.#onMembership(instance.appId);
    return true;
  }

  #allocate(): Ipv4 {
    const address = allocateAddress(this.#pool, (candidate) => this.#byAddress.has(candidate));
    if (address === undefined) {
      throw new GatewayError("pool-exhausted", "failed to allocate IP address for client", {
        cause: new Error("IP pool exhausted, no available addresses in client_ip_range"),
      });
    }
    return address;
  }

  #put(instance: Instance): void {
    const known = this.#byId.get(instance.instanceId);
    if (known !== undefined) {
      this.#byKey.delete(known.publicKey);
      this.#byAddress.delete(known.address);
    }
    this.#byId.set(instance.instanceId, instance);
    this.#byKey.set(instance.publicKey, instance.instanceId);
    this.#byAddress.set(instance.address, instance.instanceId);
    const app = this.#byApp.get(instance.appId) ?? new Set();
    app.add(instance.instanceId);
    this.#byApp.set(instance.appId, app);
    if (known === undefined || known.address !== instance.address) this.#onMembership(instance.appId);
  }
}

function checkedKey(text: string, who: string): WireGuardKey {
  try {
    return parseWireGuardKey(text, "client public key");
  } catch (cause) {
    throw new GatewayError("registration-refused", `${who} invalid client public key`, { cause });
  }
}

const refused = (message: string): GatewayError => new GatewayError("registration-refused", message);
