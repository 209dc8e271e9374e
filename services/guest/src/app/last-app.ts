/**
 * Which version of the app ran last on this disk, as one line of JSON:
 * `{"version":1,"compose_hash":"<64 hex, or empty>","may_leave_behind":<bool>}`. Read strictly: whatever else lies there counts
 * as nothing, and then the version before is taken for another one that could do anything.
 */
import { constants } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { parseJson } from "@dstack/bytes";
import { errorChain, systemCode } from "@dstack/errors";
import { writeJsonAtomic } from "@dstack/files";
import type { Logger } from "@dstack/log";

export interface AppVersion {
  /** SHA-256 of app-compose.json, 64 lower-case hex digits; empty while one version follows another. */
  readonly composeHash: string;
  /** Whether it could leave more than volumes: see `mayLeaveBehind` of @dstack/compose/docker. */
  readonly mayLeaveBehind: boolean;
}

const MAX_BYTES = 1024;

/** The version that ran last; undefined where none is recorded, or the record is damaged. */
export async function readLastApp(path: string, log: Logger): Promise<AppVersion | undefined> {
  try {
    const version = parseRecord(await readRegularFile(path));
    if (version === undefined)
      log.warn({ path }, "the record of the version that ran last is damaged; it counts for nothing");
    return version;
  } catch (error) {
    if (systemCode(error) !== "ENOENT")
      log.warn(
        { path, error: errorChain(error) },
        "the record of the version that ran last cannot be read; it counts for nothing",
      );
    return undefined;
  }
}

/** Replaces the record, whatever lies there. A power cut leaves the old one, none, or the new one. @throws the system's error */
export async function writeLastApp(path: string, { composeHash, mayLeaveBehind }: AppVersion): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await rm(path, { recursive: true, force: true });
  await writeJsonAtomic(path, { version: 1, compose_hash: composeHash, may_leave_behind: mayLeaveBehind });
}

/** An earlier version may have put anything here: no link is followed, no pipe waited for. */
async function readRegularFile(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile() || stat.size > MAX_BYTES) return "";
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

function parseRecord(text: string): AppVersion | undefined {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch {
    return undefined; // Damaged; the caller says so.
  }
  if (typeof value !== "object" || value === null || Object.keys(value).length !== 3) return undefined;
  const { version, compose_hash: composeHash, may_leave_behind: mayLeaveBehind } = value as Record<string, unknown>;
  if (version !== 1 || typeof composeHash !== "string" || !/^(?:[0-9a-f]{64})?$/.test(composeHash)) return undefined;
  return typeof mayLeaveBehind === "boolean" ? { composeHash, mayLeaveBehind } : undefined;
}
