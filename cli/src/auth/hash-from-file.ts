import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { comparable } from "@dstack/governance";
import { APP_COMPOSE_MAX_BYTES, ComposeError, parseAppCompose } from "@dstack/compose";
import { CliError } from "../terminal/errors.ts";
import { parseBootRequest } from "./boot-request.ts";

/** What a hash is of. */
export type Subject = "compose" | "os-image" | "device" | "kms";

const HASH_BYTES = 32;
const FIELD = { compose: "composeHash", "os-image": "osImageHash", device: "deviceId", kms: "mrAggregated" } as const;
const MAX_BYTES = 16 * 1024 * 1024;

/**
 * The hash that an argument means: hex as it is, else that of the file it names. A manifest's is of its bytes, an
 * image's of its checksum file, and a boot request has one for every subject.
 * @throws CliError naming what was expected
 */
export async function hashOf(subject: Subject, argument: string): Promise<string> {
  const digits = comparable(argument).slice(2);
  if (/^[0-9a-f]+$/.test(digits) && (digits.length === 2 * HASH_BYTES || /^0x/i.test(argument))) {
    if (digits.length !== 2 * HASH_BYTES)
      throw new CliError(
        "usage",
        `${argument.slice(0, 80)}: expected ${HASH_BYTES} bytes of hex, got ${digits.length / 2}`,
      );
    return `0x${digits}`;
  }
  const path = await fileOf(subject, argument);
  const bytes = await readFile(path);
  if (bytes.length > MAX_BYTES) throw new CliError("failed", `${path} has ${bytes.length} bytes, at most ${MAX_BYTES}`);
  if (subject === "os-image" && path.endsWith("sha256sum.txt")) return sha256(bytes);
  const request = parseBootRequest(bytes.toString("utf8"));
  if (request !== undefined) return checked(subject, request.boot[FIELD[subject]], path);
  if (subject === "compose") return composeHash(bytes, path);
  if (subject === "os-image") return checked(subject, bytes.toString("utf8").trim(), path);
  throw new CliError(
    "failed",
    `${path} is no boot request, so it names no ${subject === "kms" ? "KMS measurement" : "device"}`,
    { hint: "give the hash itself, or a boot request as the KMS's log and audit log have it" },
  );
}

/**
 * The app id that an argument means: hex as it is, else that of a new app with the manifest it names, or of the boot
 * request in the file. @throws CliError
 */
export async function appIdOf(argument: string): Promise<string> {
  const digits = comparable(argument).slice(2);
  if (/^[0-9a-f]{40}$/.test(digits)) return `0x${digits}`;
  const found = await stat(argument).catch(() => undefined);
  if (found?.isFile() !== true)
    throw new CliError("usage", `"${argument.slice(0, 200)}" is neither 20 bytes of hex nor a file`);
  const bytes = await readFile(argument);
  const request = parseBootRequest(bytes.toString("utf8"));
  return request === undefined ? composeHash(bytes, argument).slice(0, 42) : comparable(request.boot.appId);
}

async function fileOf(subject: Subject, argument: string): Promise<string> {
  const found = await stat(argument).catch(() => undefined);
  if (found === undefined)
    throw new CliError("not-found", `"${argument.slice(0, 200)}" is neither ${HASH_BYTES} bytes of hex nor a file`);
  if (!found.isDirectory()) return argument;
  if (subject !== "os-image") throw new CliError("usage", `${argument} is a folder; only an OS image may be one`);
  return join(argument, "sha256sum.txt");
}

function composeHash(bytes: Buffer, path: string): string {
  if (bytes.length > APP_COMPOSE_MAX_BYTES)
    throw new CliError("failed", `${path} has ${bytes.length} bytes, a guest takes at most ${APP_COMPOSE_MAX_BYTES}`);
  try {
    parseAppCompose(bytes);
  } catch (cause) {
    if (!(cause instanceof ComposeError)) throw cause;
    throw new CliError("failed", `${path} is no manifest that a guest takes: ${cause.message}`, {
      cause,
      hint: "give the app's app-compose.json; a docker-compose file is inside that",
    });
  }
  return sha256(bytes);
}

function checked(subject: Subject, text: string, path: string): string {
  const digits = comparable(text).slice(2);
  if (!/^[0-9a-f]*$/.test(digits) || digits.length !== 2 * HASH_BYTES)
    throw new CliError("failed", `${path}: expected ${HASH_BYTES} bytes of hex, got "${text.slice(0, 80)}"`);
  return `0x${digits}`;
}

const sha256 = (bytes: Buffer): string => `0x${createHash("sha256").update(bytes).digest("hex")}`;
