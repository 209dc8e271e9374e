import { createHash, createPublicKey, sign, verify, type KeyObject } from "node:crypto";
import { open } from "node:fs/promises";
import { z } from "zod";
import { lockFileWhenFree, readTextIfExists, writeFileAtomic } from "@dstack/files";
import { GovernanceError } from "./errors.ts";
import type { PolicyLine } from "./file-policy/policy-difference.ts";

const entrySchema = z.strictObject({
  sequence: z.int().positive(),
  /** ISO 8601. */
  at: z.string(),
  /** Who says to have made the change, e.g. user@host. */
  by: z.string(),
  /** SHA-256 of the policy file before and after, hex; empty where there was none. */
  before: z.string(),
  after: z.string(),
  changes: z.array(z.strictObject({ sign: z.enum(["+", "-"]), path: z.string(), value: z.string() })),
  /** SHA-256 of the line before, hex; zeros in the first. */
  previous: z.string(),
  /** Ed25519 public key, base64 of SPKI DER. */
  key: z.string(),
  /** Ed25519 over the entry's JSON without this member, base64. */
  signature: z.string(),
});

/** One change of a policy file: chained to the one before, signed by who made it. */
export type HistoryEntry = z.output<typeof entrySchema>;

export interface HistoryCheck {
  readonly entries: readonly HistoryEntry[];
  /** Line and reason of the first entry that does not hold; undefined for a good history. */
  readonly broken: string | undefined;
}

const FIRST = "0".repeat(64);
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/**
 * Writes a policy file and its history: the entry is on disk before the file changes, so that no change lacks one.
 * One writer at a time. A history that does not hold stops the change.
 * @throws GovernanceError `config-invalid`; FileLockError; the system's error
 */
export async function writeWithHistory(options: {
  readonly path: string;
  readonly historyPath: string;
  readonly key: KeyObject;
  readonly by: string;
  readonly now: Date;
  /** The new text from the present one, or undefined to leave all as it is. */
  readonly change: (
    text: string | undefined,
  ) => { readonly text: string; readonly changes: readonly PolicyLine[] } | undefined;
}): Promise<boolean> {
  const lock = await lockFileWhenFree(`${options.historyPath}.lock`, LOCK_WAIT);
  try {
    const present = await readTextIfExists(options.path);
    const changed = options.change(present);
    if (changed === undefined) return false;
    const history = await wholeLines(options.historyPath);
    const { entries, broken } = checkHistory(history);
    if (broken !== undefined)
      throw new GovernanceError("config-invalid", `${options.historyPath}: ${broken}; nothing was changed`);
    const lines = history.trimEnd().split("\n");
    const unsigned = {
      sequence: entries.length + 1,
      at: options.now.toISOString(),
      by: options.by,
      before: present === undefined ? "" : sha256(present),
      after: sha256(changed.text),
      changes: changed.changes.map(({ sign: mark, path, value }) => ({ sign: mark, path, value })),
      previous: entries.length === 0 ? FIRST : sha256(lines.at(-1) ?? ""),
      key: createPublicKey(options.key).export({ type: "spki", format: "der" }).toString("base64"),
    };
    const signature = sign(null, Buffer.from(JSON.stringify(unsigned)), options.key).toString("base64");
    await append(options.historyPath, `${JSON.stringify({ ...unsigned, signature })}\n`);
    await writeFileAtomic(options.path, changed.text);
    return true;
  } finally {
    await lock.release();
  }
}

/** The history without a last line that a crash cut off: what it would have said never came into force. */
async function wholeLines(path: string): Promise<string> {
  const text = (await readTextIfExists(path)) ?? "";
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  if (whole.length !== text.length) await writeFileAtomic(path, whole);
  return whole;
}

/** How long another writer may take. */
const LOCK_WAIT = { timeoutMs: 10_000, pauseMs: 50 };

/** Checks chain and signatures. A last line that was cut off by a crash is reported as broken. Pure. */
export function checkHistory(text: string): HistoryCheck {
  const entries: HistoryEntry[] = [];
  let previous = FIRST;
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "") continue;
    const fail = (why: string): HistoryCheck => ({ entries, broken: `line ${index + 1} ${why}` });
    let entry: HistoryEntry;
    try {
      entry = entrySchema.parse(JSON.parse(line));
    } catch {
      return fail("is no entry");
    }
    // The signature is over the values, so the line must not say them in a way that others read otherwise.
    if (JSON.stringify(entry) !== line) return fail("is no entry: it is not written as entries are");
    if (entry.sequence !== entries.length + 1)
      return fail(`has number ${entry.sequence}, expected ${entries.length + 1}: an entry is missing`);
    if (entry.previous !== previous) return fail("does not follow the line before: one of them was changed");
    const { signature, ...unsigned } = entry;
    if (!signatureHolds(unsigned, entry.key, signature)) return fail("has a bad signature");
    previous = sha256(line);
    entries.push(entry);
  }
  return { entries, broken: undefined };
}

function signatureHolds(unsigned: object, key: string, signature: string): boolean {
  try {
    const publicKey = createPublicKey({ key: Buffer.from(key, "base64"), format: "der", type: "spki" });
    return (
      publicKey.asymmetricKeyType === "ed25519" &&
      verify(null, Buffer.from(JSON.stringify(unsigned)), publicKey, Buffer.from(signature, "base64"))
    );
  } catch {
    return false;
  }
}

/** On the disk when it returns. */
async function append(path: string, line: string): Promise<void> {
  const file = await open(path, "a", 0o600);
  try {
    await file.writeFile(line);
    await file.sync();
  } finally {
    await file.close();
  }
}
