import { setTimeout as sleep } from "node:timers/promises";
import { agent } from "@dstack/proto";
import type { Logger } from "@dstack/log";
import { callRpc, httpTransport } from "@dstack/rpc";
import { formatIpv4 } from "@dstack/wireguard";
import type { Instance } from "../registration/instance.ts";
import { portPolicyFromTcbInfo, type PortPolicy } from "../registration/port-policy.ts";

export interface PolicySourceOptions {
  readonly agentPort: number;
  readonly timeoutMs: number;
  readonly maxRetries: number;
  readonly backoffInitialMs: number;
  readonly backoffMaxMs: number;
  readonly log: Logger;
  /** The instance as it is now, undefined once it is gone. */
  readonly current: (instanceId: string) => Instance | undefined;
  readonly learned: (instance: Instance, policy: PortPolicy) => void;
}

const MAX_INFO_BYTES = 4 * 1024 * 1024;
const MAX_IN_FLIGHT = 1_000;

/** Asks the guest agents of CVMs that did not report a port policy for it: one question per instance at a time. */
export class PolicySource {
  readonly #options: PolicySourceOptions;
  readonly #inFlight = new Map<string, Promise<void>>();
  readonly #stopped = new AbortController();

  constructor(options: PolicySourceOptions) {
    this.#options = options;
  }

  /** Resolves when the question under way has ended, with or without an answer. Never rejects. */
  fetch(instance: Instance): Promise<void> {
    const running = this.#inFlight.get(instance.instanceId);
    if (running !== undefined) return running;
    if (this.#inFlight.size >= MAX_IN_FLIGHT || this.#stopped.signal.aborted) return Promise.resolve();
    const asked = this.#fetch(instance).finally(() => this.#inFlight.delete(instance.instanceId));
    this.#inFlight.set(instance.instanceId, asked);
    return asked;
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#inFlight.values());
  }

  async #fetch(instance: Instance): Promise<void> {
    const { maxRetries, backoffInitialMs, backoffMaxMs, log, current, learned } = this.#options;
    let backoffMs = backoffInitialMs;
    for (let attempt = 0; attempt <= maxRetries && !this.#stopped.signal.aborted; attempt++) {
      const now = current(instance.instanceId);
      if (now === undefined || now.portPolicy !== undefined) return;
      try {
        learned(now, portPolicyFromTcbInfo(await this.#tcbInfo(now)));
        return;
      } catch (error) {
        log.debug(
          { instance: instance.instanceId, attempt, error: (error as Error).message },
          "port policy could not be fetched",
        );
      }
      await sleep(backoffMs, undefined, { signal: this.#stopped.signal, ref: false }).catch(() => undefined); // Stopped: the loop's condition ends it.
      backoffMs = Math.min(backoffMs * 2, backoffMaxMs);
    }
    log.info(
      { instance: instance.instanceId },
      "port policy is still unknown, its ports stay closed until it can be fetched",
    );
  }

  async #tcbInfo(instance: Instance): Promise<string> {
    const transport = httpTransport({
      baseUrl: `http://${formatIpv4(instance.address)}:${this.#options.agentPort}/prpc`,
      maxAnswerBytes: MAX_INFO_BYTES,
    });
    return (
      await callRpc(
        transport,
        agent.Worker.method.info,
        {},
        { timeoutMs: this.#options.timeoutMs, signal: this.#stopped.signal },
      )
    ).tcbInfo;
  }
}
