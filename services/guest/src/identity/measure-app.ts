import { BOOT_EVENT } from "@dstack/attest";
import { createHash } from "node:crypto";
import { hash32, utf8, type Hash32 } from "@dstack/bytes";
import type { Tee } from "@dstack/agent";
import type { ParsedAppCompose } from "@dstack/compose";
import type { Identity } from "./identity.ts";

/**
 * Measures what will run, before anything of it runs. The order is part of the format: key
 * servers evaluate the log up to `boot-mr-done`.
 */
export async function measureApp(manifest: ParsedAppCompose, identity: Identity, tee: Tee): Promise<void> {
  const none = new Uint8Array();
  await tee.emit(BOOT_EVENT.systemPreparing, none);
  await tee.emit(BOOT_EVENT.appId, identity.appId);
  await tee.emit(BOOT_EVENT.composeHash, manifest.composeHash);
  for (const hash of initScriptHashes(manifest)) await tee.emit(BOOT_EVENT.initScriptHash, hash);
  await tee.emit(BOOT_EVENT.gpuPolicyHash, manifest.compose.gpuPolicyHash);
  await tee.emit(BOOT_EVENT.instanceId, identity.instanceId);
  await tee.emit(BOOT_EVENT.bootMrDone, none);
}

/** SHA-256 of each init script's text, in order. */
export const initScriptHashes = (manifest: ParsedAppCompose): readonly Hash32[] =>
  manifest.compose.initScripts.map((script) =>
    hash32(new Uint8Array(createHash("sha256").update(utf8(script)).digest())),
  );
