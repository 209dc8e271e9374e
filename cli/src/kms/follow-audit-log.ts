import { open, type FileHandle } from "node:fs/promises";
import { readChain, type AuditRecord, type ChainHead, type ChainItem } from "@dstack/audit-log";
import { CliError } from "../terminal/errors.ts";

/** Every record in order; gives how the file ends. @throws CliError `not-found` */
export async function followAuditLog(
  path: string,
  see: (record: AuditRecord, head: ChainHead) => void,
): Promise<ChainItem | { readonly kind: "whole"; readonly head: ChainHead }> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (cause) {
    throw new CliError(
      (cause as NodeJS.ErrnoException).code === "ENOENT" ? "not-found" : "failed",
      `audit log ${path} cannot be read`,
      { cause },
    );
  }
  try {
    let head: ChainHead = { seq: 0, hash: "0".repeat(64), size: 0 };
    for await (const item of readChain(file)) {
      if (item.kind !== "record") return item;
      head = item.head;
      see(item.record, head);
    }
    return { kind: "whole", head };
  } finally {
    await file.close();
  }
}

/** Where and why the chain breaks; undefined where it holds. */
export const problemOf = (end: {
  readonly kind: string;
  readonly head: ChainHead;
  readonly reason?: string;
}): string | undefined => (end.kind === "broken" ? `line ${end.head.seq + 1}: ${end.reason ?? ""}` : undefined);
