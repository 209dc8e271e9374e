import assert from "node:assert/strict";
import { test } from "node:test";
import { stopVm } from "../src/apps/apply/stop-vm.ts";
import { hasBootEnded, waitForApp } from "../src/apps/apply/wait-for-app.ts";
import type { VmmClient } from "../src/clients/vmm-client.ts";
import { CliError } from "../src/terminal/errors.ts";
import type { Progress } from "../src/terminal/progress.ts";

interface Seen {
  readonly status: string;
  readonly bootProgress?: string;
  readonly bootError?: string;
}

/** A VMM that shows these states one after another, the last for good; an error is one that is thrown. */
function vmmShowing(...states: readonly (Seen | Error)[]): { readonly client: VmmClient; readonly calls: string[] } {
  const calls: string[] = [];
  let at = 0;
  const client = {
    call: async ({ name }: { readonly name: string }) => {
      if (name !== "GetInfo") {
        calls.push(name);
        return {};
      }
      const state = states[Math.min(at++, states.length - 1)];
      if (state instanceof Error) throw state;
      return state === undefined
        ? { found: false }
        : { found: true, info: { name: "web", bootProgress: "", bootError: "", events: [], ...state } };
    },
  } as unknown as VmmClient;
  return { client, calls };
}

const progress: Progress = { phase: (_name, work) => work(() => undefined), phasesMs: {} };
const wait = (client: VmmClient): Promise<void> =>
  waitForApp(client, { vmId: "vm", url: undefined, caFile: "", progress });
const refusal = async (work: Promise<unknown>): Promise<CliError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof CliError, String(error));
  return error;
};

test("a VMM that is started again meanwhile does not end the wait for a boot", async () => {
  const silent = new CliError("failed", "the VMM does not answer");
  const { client } = vmmShowing({ status: "running" }, silent, silent, { status: "running", bootProgress: "done" });
  await wait(client);
});

test("tells a boot that has ended from one that may still come to its end", async () => {
  const refused = await refusal(wait(vmmShowing({ status: "exited", bootError: "compose hash not allowed" }).client));
  assert.deepEqual([refused.code, hasBootEnded(refused)], ["denied", true]);
  const ended = await refusal(wait(vmmShowing({ status: "stopped", bootProgress: "setting up docker" }).client));
  assert.deepEqual([ended.message, hasBootEnded(ended)], ["the VM of web ended while setting up docker", true]);
  const gone = await refusal(wait(vmmShowing().client));
  assert.deepEqual([gone.code, hasBootEnded(gone)], ["not-found", false]);
  assert.equal(hasBootEnded(new CliError("failed", "interrupted")), false);
});

test("a VM is asked to shut down first, and its power is cut only when it does not", async () => {
  const said: string[] = [];
  const stop = (client: VmmClient, force: boolean, graceMs = 0): Promise<void> =>
    stopVm(client, "vm", { force, graceMs, say: (text) => void said.push(text) });
  const gentle = vmmShowing({ status: "running" }, { status: "stopped" });
  await stop(gentle.client, false);
  assert.deepEqual([gentle.calls, said], [["ShutdownVm"], []]);

  const stubborn = vmmShowing(...Array.from({ length: 4 }, () => ({ status: "running" })), { status: "stopped" });
  await stop(stubborn.client, false);
  assert.deepEqual(stubborn.calls, ["ShutdownVm", "StopVm"]);
  assert.deepEqual(said, ["the guest did not shut down in time; forcing it"]);

  const forced = vmmShowing({ status: "running" }, { status: "stopped" });
  await stop(forced.client, true);
  assert.deepEqual(forced.calls, ["StopVm"]);
});

test("a VM that ended by itself is stopped too, or it would be started again; a stopped one is left alone", async () => {
  const exited = vmmShowing({ status: "exited" });
  await stopVm(exited.client, "vm", { force: false, say: () => undefined });
  assert.deepEqual(exited.calls, ["StopVm"]);
  const stopped = vmmShowing({ status: "stopped" });
  await stopVm(stopped.client, "vm", { force: true, say: () => undefined });
  assert.deepEqual(stopped.calls, []);
});
