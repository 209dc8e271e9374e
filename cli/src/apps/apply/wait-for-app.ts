import { setTimeout as sleep } from "node:timers/promises";
import { isCoded } from "@dstack/errors";
import { CliError } from "../../terminal/errors.ts";
import { getThroughGateway, type GatewayAnswer } from "../../clients/gateway-client.ts";
import type { Progress } from "../../terminal/progress.ts";
import { vmmMethods, type VmmClient } from "../../clients/vmm-client.ts";

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly note: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

const BOOT_TIMEOUT_MS = 10 * 60_000;
const ANSWER_TIMEOUT_MS = 120_000;

/** When a boot phase was first seen, in milliseconds since the epoch as the VMM stamped it. */
export type BootPhases = Readonly<Record<string, number>>;

/** How a boot ended, or that it did not. */
type BootOutcome =
  | { readonly kind: "done"; readonly name: string; readonly phases: BootPhases }
  /** The guest, or the VMM after it, gave a reason. */
  | { readonly kind: "refused"; readonly name: string; readonly reason: string }
  | { readonly kind: "ended"; readonly name: string; readonly at: string }
  | { readonly kind: "late"; readonly name: string; readonly at: string; readonly timeoutMs: number };

/** A VMM that is being restarted answers again within seconds. */
const VMM_SILENCE_MS = 20_000;

export interface AppWait {
  readonly vmId: string;
  /** The app's address at the gateway; undefined where the gateway reaches no port of it. */
  readonly url: string | undefined;
  readonly caFile: string;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Waits until an app has booted and answers through the gateway, as two phases.
 * @throws CliError; of one whose boot has ended, and not well, `hasBootEnded` tells
 */
export async function waitForApp(client: VmmClient, { vmId, url, caFile, progress, signal }: AppWait): Promise<void> {
  await progress.phase("boot", (note) => waitForBoot(client, vmId, { timeoutMs: BOOT_TIMEOUT_MS, note, signal }));
  if (url !== undefined)
    await progress.phase("answer", (note) =>
      waitForAnswer(url, caFile, { timeoutMs: ANSWER_TIMEOUT_MS, note, signal }),
    );
}

/** Whether this is the error of a boot that was refused or ended: nothing more will come of it. */
export const hasBootEnded = (error: unknown): boolean =>
  isCoded(error) && ["refused", "ended"].includes(String(error.facts["boot"]));

/**
 * Watches a boot until its end or the deadline.
 * @throws CliError `not-found` for a VM that is gone; what the VMM's client throws where it stays silent
 */
async function watchBoot(client: VmmClient, vmId: string, options: WaitOptions): Promise<BootOutcome> {
  const deadline = Date.now() + options.timeoutMs;
  let answeredMs = Date.now();
  for (;;) {
    options.signal?.throwIfAborted();
    let info;
    try {
      ({ info } = await client.call(vmmMethods.getInfo, { id: vmId }));
      answeredMs = Date.now();
    } catch (error) {
      if (Date.now() - answeredMs > VMM_SILENCE_MS) throw error;
      options.note("the VMM does not answer");
      await sleep(400);
      continue;
    }
    if (info === undefined) throw new CliError("not-found", `VM ${vmId} is gone`);
    const { name, bootProgress, bootError } = info;
    const at = bootProgress === "" ? "booting" : bootProgress;
    if (bootProgress === "done")
      return {
        kind: "done",
        name,
        phases: Object.fromEntries(
          info.events
            .filter((event) => event.event === "boot.progress")
            .map((event) => [event.body, Number(event.timestamp)]),
        ),
      };
    if (info.status !== "running")
      return bootError === "" ? { kind: "ended", name, at } : { kind: "refused", name, reason: bootError };
    options.note(bootError === "" ? at : `${bootProgress}; ${bootError}`);
    if (Date.now() > deadline)
      return {
        kind: "late",
        name,
        at: bootError === "" ? at : `${at} (${bootError})`,
        timeoutMs: options.timeoutMs,
      };
    await sleep(400);
  }
}

/**
 * Waits until the guest says that the app's containers are up.
 * @throws CliError `denied` with the guest's reason when it refused to boot, `failed` when the VM ended or the deadline passed
 */
export async function waitForBoot(client: VmmClient, vmId: string, options: WaitOptions): Promise<BootPhases> {
  const outcome = await watchBoot(client, vmId, options);
  if (outcome.kind === "done") return outcome.phases;
  throw bootFailure(outcome);
}

/** A boot that did not come to its end, for people. */
function bootFailure(outcome: Exclude<BootOutcome, { readonly kind: "done" }>): CliError {
  const { name, kind } = outcome;
  const facts = { boot: kind };
  switch (outcome.kind) {
    case "refused":
      return new CliError("denied", `the boot of ${name} was refused: ${outcome.reason}`, {
        facts,
        hint: `\`dstack logs ${name}\` shows the console; the app was not started`,
      });
    case "ended":
      return new CliError("failed", `the VM of ${name} ended while ${outcome.at}`, {
        facts,
        hint: `see \`dstack logs ${name}\``,
      });
    case "late":
      return new CliError(
        "failed",
        `${name} did not finish booting within ${outcome.timeoutMs / 1000} s; it is at: ${outcome.at}`,
        { facts, hint: `it is left running; see \`dstack logs ${name}\`` },
      );
  }
}

/**
 * Waits until the app itself answers through the gateway with anything but a gateway error.
 * @throws CliError with the last reason
 */
export async function waitForAnswer(url: string, caFile: string, options: WaitOptions): Promise<GatewayAnswer> {
  const deadline = Date.now() + options.timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    let reason: string;
    try {
      const answer = await getThroughGateway({ url: new URL(url), caFile, timeoutMs: 10_000, signal: options.signal });
      if (![404, 502, 503, 504].includes(answer.status)) return answer;
      reason = `${answer.status} ${answer.body.trim().split("\n")[0] ?? ""}`;
    } catch (error) {
      reason = (error as Error).message;
    }
    options.note(reason);
    if (Date.now() > deadline)
      throw new CliError("failed", `${url} does not answer: ${reason}`, {
        hint: "see `dstack doctor` and the gateway's log",
      });
    await sleep(500);
  }
}
