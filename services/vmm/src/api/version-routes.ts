import { toHex } from "@dstack/bytes";
import { composeHash } from "@dstack/compose";
import { errorChain, isCoded } from "@dstack/errors";
import type { HttpExchange } from "@dstack/rpc";
import { VmmError } from "../errors.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { isVmId } from "../vm/manifest.ts";
import { answerError, answerJson } from "./answer.ts";

/** What a rollback of the VM would put back: `{id, compose_hash, saved_at}`; 404 where there is nothing. */
export async function sendPreviousVersion(exchange: HttpExchange, fleet: Pick<Fleet, "find">): Promise<void> {
  const id = exchange.url.searchParams.get("id") ?? "";
  await answering(exchange, async () => {
    const vm = isVmId(id) ? fleet.find(id) : undefined;
    if (vm === undefined) throw noVm();
    const kept = await vm.folder.readPreviousVersion();
    if (kept === undefined) throw new VmmError("no-version", `VM ${id} has no previous version`);
    return { id, compose_hash: toHex(composeHash(kept.compose)), saved_at: kept.savedAt };
  });
}

/** Puts the previous version back: `{id, compose_hash}` of what is there now; 404 where there is nothing. */
export async function sendRollback(exchange: HttpExchange, fleet: Pick<Fleet, "rollback">): Promise<void> {
  const id = exchange.url.searchParams.get("id") ?? "";
  await answering(exchange, async () => {
    if (!isVmId(id)) throw noVm();
    return { id, compose_hash: toHex(await fleet.rollback(id)) };
  });
}

const noVm = (): VmmError => new VmmError("not-found", "VM not found");

async function answering(exchange: HttpExchange, work: () => Promise<object>): Promise<void> {
  try {
    answerJson(exchange.response, 200, await work());
  } catch (error) {
    answerError(exchange, isCoded(error, "not-found", "no-version") ? 404 : 400, errorChain(error));
  }
}
