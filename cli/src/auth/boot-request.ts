import { parseJson } from "@dstack/bytes";
import { readLog, type AuditRecord } from "@dstack/audit-log";
import { systemCode } from "@dstack/errors";
import { GovernanceError, parseBootInfo, type BootInfo, type BootKind } from "@dstack/governance";
import { CliError } from "../terminal/errors.ts";

/** Who wants to boot, and as what. */
export interface BootRequest {
  readonly kind: BootKind;
  readonly boot: BootInfo;
  /** Where it comes from a refusal on record: its time (ISO 8601) and the words of the KMS. */
  readonly refused?: { readonly time: string; readonly reason: string };
}

/**
 * A boot request in any form that people have at hand: the webhook's own, a line of its log, a record of the KMS's
 * audit log. Undefined for everything else. A KMS asks with "kind": "kms" or an action that says so.
 */
export function parseBootRequest(text: string): BootRequest | undefined {
  let json: unknown;
  try {
    json = parseJson(text);
  } catch {
    return undefined;
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) return undefined;
  const { kind, action, msg } = json as { kind?: unknown; action?: unknown; msg?: unknown };
  const isKms = kind === "kms" || action === "kms-key" || (typeof msg === "string" && msg.startsWith("KMS boot auth"));
  try {
    return { kind: isKms ? "kms" : "app", boot: parseBootInfo(text) };
  } catch (error) {
    if (error instanceof GovernanceError) return undefined;
    throw error;
  }
}

/**
 * The last boot of an app that a KMS refused, out of its audit log.
 * @throws CliError `not-found`
 */
export async function lastRefusal(auditLog: string, appId: string): Promise<BootRequest> {
  let last: AuditRecord | undefined;
  try {
    for await (const item of readLog(auditLog)) {
      if (item.kind !== "record") continue;
      const { record } = item;
      if (record["appId"] === appId && record["outcome"] === "refused") last = record;
    }
  } catch (cause) {
    if (systemCode(cause) === undefined) throw cause;
    throw new CliError("not-found", `the KMS's audit log ${auditLog} cannot be read`, {
      cause,
      hint: "give the boot request as a file",
    });
  }
  const request = last === undefined ? undefined : parseBootRequest(JSON.stringify(last));
  if (last === undefined || request === undefined)
    throw new CliError("not-found", `the KMS has refused no boot of app ${appId}`, {
      hint: "give a boot request as a file to ask about another",
    });
  return { ...request, refused: { time: last.time, reason: String(last["reason"] ?? "") } };
}
