import { setTimeout as sleep } from "node:timers/promises";
import { CliError } from "../terminal/errors.ts";
import { getThroughGateway, type GatewayAnswer } from "../clients/gateway-client.ts";
import { vmmMethods, type VmmClient } from "../clients/vmm-client.ts";

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly note: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** When a boot phase was first seen, in milliseconds since the epoch as the VMM stamped it. */
export type BootPhases = Readonly<Record<string, number>>;

/**
 * Waits until the guest says that the app's containers are up.
 * @throws CliError `denied` with the guest's reason when it refused to boot, `failed` when the VM ended or the deadline passed
 */
export async function waitForBoot(client: VmmClient, vmId: string, options: WaitOptions): Promise<BootPhases> {
  const deadline = Date.now() + options.timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    const { info } = await client.call(vmmMethods.getInfo, { id: vmId });
    if (info === undefined) throw new CliError("not-found", `VM ${vmId} is gone`);
    if (info.bootProgress === "done") {
      return Object.fromEntries(
        info.events
          .filter((event) => event.event === "boot.progress")
          .map((event) => [event.body, Number(event.timestamp)]),
      );
    }
    if (info.status !== "running") {
      if (info.bootError !== "")
        throw new CliError("denied", `the boot of ${info.name} was refused: ${info.bootError}`, {
          hint: `\`dstack logs ${info.name}\` shows the console; the app was not started`,
        });
      throw new CliError(
        "failed",
        `the VM of ${info.name} ended while ${info.bootProgress === "" ? "booting" : info.bootProgress}`,
        { hint: `see \`dstack logs ${info.name}\`` },
      );
    }
    options.note(info.bootError === "" ? info.bootProgress || "booting" : `${info.bootProgress}; ${info.bootError}`);
    if (Date.now() > deadline) {
      throw new CliError(
        "failed",
        `${info.name} did not finish booting within ${options.timeoutMs / 1000} s; it is at: ${info.bootProgress || "booting"}${info.bootError === "" ? "" : ` (${info.bootError})`}`,
        { hint: `it is left running; see \`dstack logs ${info.name}\`` },
      );
    }
    await sleep(400);
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
