/**
 * The root keys, sealed to operators, and given back by them.
 * In: an administrator's wish for a backup; a backup and operators' shares on the set-up listener.
 * Out: bytes that only the operators of the configuration can open together; a key folder that has its keys.
 * An audit line stands on the disk before a backup leaves.
 * Never: a recipient that the request names; a share, or what shares give, in a log.
 */
import type { ServerResponse } from "node:http";
import { toHex } from "@dstack/bytes";
import { backupHash, MAX_BACKUP_BYTES, MAX_SHARE_BYTES } from "@dstack/key-backup";
import { errorChain, isCoded } from "@dstack/errors";
import { readBody, type HttpExchange, type HttpRoute } from "@dstack/rpc";
import { KMS_ERRORS, KmsError } from "../errors.ts";
import type { KmsConfig } from "../config/kms-config.ts";
import type { RootKeys } from "../keys/install-root-keys.ts";
import type { OpenKms } from "../open-kms.ts";
import { makeBackup } from "./make-backup.ts";
import type { Restore } from "./restore.ts";

/**
 * `POST /backup` of the administration listener, which has asked for credentials. The caller
 * chooses nothing: to whom the keys are sealed stands in the configuration.
 */
export function backupRoute(
  kms: Pick<OpenKms, "keys" | "settingsAgainstHandOver" | "audit" | "clock" | "log"> & {
    readonly config: Pick<KmsConfig, "backup">;
  },
): HttpRoute {
  const { keys, settingsAgainstHandOver, audit, clock, log } = kms;
  const roots: RootKeys = { rootCa: keys.rootCa.key, tempCa: keys.tempCa.key, rootK256: keys.rootK256 };
  const operators = kms.config.backup;
  return {
    verbs: ["POST"],
    path: "/backup",
    handle: (exchange) =>
      answering(exchange, async () => {
        const { request, requestId } = exchange;
        const [blocker] = settingsAgainstHandOver;
        const origin = { action: "backup", requestId, remoteAddress: request.socket.remoteAddress };
        if (operators === undefined || blocker !== undefined) {
          const reason =
            operators === undefined
              ? "no operators are configured: set core.backup.operators and core.backup.threshold (rule backup, field core.backup.operators)"
              : `root keys are never handed out while ${blocker} is in force (rule insecure-settings, field ${blocker})`;
          log.warn({ ...origin, reason }, "refused");
          await audit.append({
            ...origin,
            outcome: "refused",
            reason,
            rule: operators === undefined ? "backup" : "insecure-settings",
            field: blocker ?? "core.backup.operators",
          });
          throw new KmsError("backup-refused", reason);
        }
        const bytes = await makeBackup(roots, operators, clock.now());
        await audit.append({
          ...origin,
          outcome: "released",
          backup: backupHash(bytes),
          threshold: operators.threshold,
          operators: operators.publicKeys.map(toHex),
        });
        log.info({ ...origin, backup: backupHash(bytes) }, "backup of the root keys made");
        return bytes;
      }),
  };
}

/** `POST /restore?domain=NAME` with a backup, `POST /restore/share` with a share, on the set-up listener. */
export function restoreRoutes(restore: Restore): HttpRoute[] {
  return [
    {
      verbs: ["POST"],
      path: "/restore",
      handle: (exchange) =>
        answering(exchange, async () =>
          restore.begin(
            await readBody(exchange.request, MAX_BACKUP_BYTES),
            exchange.url.searchParams.get("domain") ?? "",
          ),
        ),
    },
    {
      verbs: ["POST"],
      path: "/restore/share",
      handle: (exchange) =>
        answering(exchange, async () =>
          Buffer.from(`${JSON.stringify(await restore.submit(await readBody(exchange.request, MAX_SHARE_BYTES)))}\n`),
        ),
    },
  ];
}

/** JSON either way; errors are 400 with `error`, `code` and `request_id`, but a body that is too large. */
async function answering({ response, requestId }: HttpExchange, run: () => Promise<Uint8Array>): Promise<void> {
  try {
    send(response, 200, await run());
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined || isCoded(error, "payload-too-large")) throw error;
    const next = error instanceof KmsError ? { next: KMS_ERRORS[error.code].next } : {};
    const body = { error: errorChain(error), code, request_id: requestId, ...next };
    send(response, 400, Buffer.from(`${JSON.stringify(body)}\n`));
  }
}

/** Refusals that a caller may read; anything else is a fault of this program. */
function codeOf(error: unknown): string | undefined {
  return isCoded(error) ? error.code : undefined;
}

function send(response: ServerResponse, status: number, body: Uint8Array): void {
  response
    .writeHead(status, {
      "content-type": "application/json",
      "content-length": body.length,
      "cache-control": "no-store",
      ...(status === 200 ? {} : { connection: "close" }),
    })
    .end(body);
}
