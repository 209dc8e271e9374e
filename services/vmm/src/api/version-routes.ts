import { toHex } from "@dstack/bytes";
import { composeHash } from "@dstack/compose";
import { errorChain, isCoded } from "@dstack/errors";
import type { HttpExchange } from "@dstack/rpc";
import type { Fleet } from "../fleet/fleet.ts";
import { isVmId } from "../vm/manifest.ts";
import { answerJson } from "./answer.ts";

type Answer = readonly [status: number, value: object];

const NO_VM: Answer = [404, { error: "VM not found" }];

/** What a rollback of the VM would put back: `{id, compose_hash, saved_at}`; 404 where there is nothing. */
export async function sendPreviousVersion({ response, url }: HttpExchange, fleet: Pick<Fleet, "find">): Promise<void> {
  const id = url.searchParams.get("id") ?? "";
  await answering(response, async () => {
    const vm = isVmId(id) ? fleet.find(id) : undefined;
    if (vm === undefined) return NO_VM;
    const kept = await vm.folder.readPreviousVersion();
    if (kept === undefined) return [404, { error: `VM ${id} has no previous version` }];
    return [200, { id, compose_hash: toHex(composeHash(kept.compose)), saved_at: kept.savedAt }];
  });
}

/** Puts the previous version back: `{id, compose_hash}` of what is there now; 404 where there is nothing. */
export async function sendRollback({ response, url }: HttpExchange, fleet: Pick<Fleet, "rollback">): Promise<void> {
  const id = url.searchParams.get("id") ?? "";
  await answering(response, async () => {
    if (!isVmId(id)) return NO_VM;
    return [200, { id, compose_hash: toHex(await fleet.rollback(id)) }];
  });
}

async function answering(response: HttpExchange["response"], work: () => Promise<Answer>): Promise<void> {
  try {
    answerJson(response, ...(await work()));
  } catch (error) {
    answerJson(response, isCoded(error, "not-found", "no-version") ? 404 : 400, { error: errorChain(error) });
  }
}
