import { AuditLogError } from "@dstack/audit-log";
import { errorChain, systemCode } from "@dstack/errors";
import { RpcError } from "@dstack/rpc";
import { KmsError } from "../errors.ts";

/**
 * An error as its caller is told it: where nothing could be decided, the text of the log without what says how this
 * machine is laid out. Of a URL its scheme and host stay (a path may hold a secret), of a file its name.
 * Decisions, and what is wrong with the request itself, stay as they are.
 */
export function told(error: unknown): unknown {
  if (!(error instanceof Error) || !links(error).some(isInternal)) return error;
  return new RpcError(error instanceof RpcError ? error.code : "handler-failed", withoutPlaces(errorChain(error)));
}

function links(error: Error): Error[] {
  const all: Error[] = [];
  for (let next: unknown = error; next instanceof Error && all.length < 16; next = next.cause) all.push(next);
  return all;
}

const isInternal = (error: Error): boolean =>
  error instanceof AuditLogError ||
  (error instanceof KmsError && error.code !== "self-unauthorized") ||
  systemCode(error) !== undefined;

const withoutPlaces = (text: string): string =>
  text
    .replaceAll(/\b([a-z][a-z0-9+.-]*:\/\/)(?:[^\s/@"]*@)?([^\s/?#"]+)[/?#][^\s"]*/gi, "$1$2/\u2026")
    .replaceAll(/(?<![\w/.\u2026])(?:\/[^\s/:"]+)+\/([^\s/:"]+)/g, "$1");
