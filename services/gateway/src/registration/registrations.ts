/**
 * Which CVMs there are, and at which tunnel address.
 * In: registrations of callers whose identity is known. Out: the registry, its file, and word to the tunnel.
 * An answer is given once the change is on the disk and WireGuard was told; changes of a moment go together.
 * The file is read whole or the start fails; one of 0.5.5 is imported once.
 * Never: an address for two CVMs; a key or an instance that another app has.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { toHex } from "@dstack/bytes";
import type { Logger } from "@dstack/log";
import { GatewayError } from "../errors.ts";
import type { AddressPool } from "./address-pool.ts";
import { Committer } from "./committer.ts";
import type { Instance } from "./instance.ts";
import { readLegacyState } from "./legacy-state.ts";
import type { PortPolicy } from "./port-policy.ts";
import { Registry, type MembershipListener, type RegistrationRequest } from "./registry.ts";
import { readState, writeState } from "./state-file.ts";

export interface RegistrationsOptions {
  readonly dataDir: string;
  /** State file of 0.5.5, imported when there is no state yet. */
  readonly legacyPath: string;
  readonly pool: AddressPool;
  readonly onMembership: MembershipListener;
  /** Brings WireGuard to what is registered. */
  readonly applyTunnel: () => Promise<void>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** The registry with its file: a change is answered once it is on disk and WireGuard was told. */
export class Registrations {
  readonly registry: Registry;
  readonly uuid: string;
  readonly #options: RegistrationsOptions;
  readonly #path: string;
  readonly #committer: Committer;

  private constructor(options: RegistrationsOptions, registry: Registry, uuid: string) {
    this.#options = options;
    this.#path = statePath(options.dataDir);
    this.registry = registry;
    this.uuid = uuid;
    this.#committer = new Committer(() => this.#write());
  }

  /** @throws GatewayError `state-unreadable` */
  static async open(options: RegistrationsOptions): Promise<Registrations> {
    const { log } = options;
    const registry = new Registry(options.pool, options.onMembership);
    const state = await readState(statePath(options.dataDir));
    const instances = state?.instances ?? (await imported(options));
    for (const instance of instances) {
      const left = registry.restore(instance);
      if (left !== undefined)
        log.warn(
          { instance_id: instance.instanceId, reason: left },
          "stored registration is left out, its CVM has to register again",
        );
    }
    const opened = new Registrations(options, registry, state?.uuid ?? toHex(randomBytes(16)));
    if (state === undefined) await opened.#save();
    return opened;
  }

  /** @throws GatewayError as the registry does, `state-unwritable` when it cannot be stored */
  async register(request: RegistrationRequest): Promise<Instance> {
    const instance = this.registry.register(request, Math.floor(this.#options.now() / 1_000));
    await this.#committer.commit();
    return instance;
  }

  /** Keeps a policy that a guest agent told. */
  learnPolicy(instance: Instance, policy: PortPolicy): void {
    if (this.registry.setPortPolicy(instance.instanceId, instance.composeHash, policy))
      this.#commitLater("port policy");
  }

  remove(instances: readonly Instance[]): void {
    const removed = instances.filter((instance) => this.registry.remove(instance.instanceId));
    if (removed.length === 0) return;
    this.#options.log.info(
      { instances: removed.map((instance) => instance.instanceId) },
      `recycled ${removed.length} stale instances`,
    );
    this.#commitLater("recycling");
  }

  /** Waits until everything that was asked for is written. */
  settle(): Promise<void> {
    return this.#committer.settle();
  }

  #commitLater(what: string): void {
    this.#committer
      .commit()
      .catch((error: unknown) =>
        this.#options.log.error(
          { error: (error as Error).message },
          `${what} could not be stored; the next change writes it again`,
        ),
      );
  }

  async #write(): Promise<void> {
    try {
      await this.#save();
    } catch (cause) {
      throw new GatewayError("state-unwritable", `registrations could not be written to ${this.#path}`, { cause });
    }
    await this.#options.applyTunnel();
  }

  #save(): Promise<void> {
    return writeState(this.#path, { uuid: this.uuid, instances: this.registry.all() });
  }
}

const statePath = (dataDir: string): string => join(dataDir, "registrations.json");

async function imported(options: RegistrationsOptions): Promise<readonly Instance[]> {
  const legacy = await readLegacyState(options.legacyPath, Math.floor(options.now() / 1_000));
  if (legacy === undefined) return [];
  options.log.info(
    { file: options.legacyPath, instances: legacy.instances.length, skipped: legacy.skipped },
    "registrations of an older gateway imported",
  );
  return legacy.instances;
}
