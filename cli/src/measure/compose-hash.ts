import { readFile } from "node:fs/promises";
import { toHex } from "@dstack/bytes";
import {
  APP_COMPOSE_MAX_BYTES,
  ComposeError,
  composeHash as hashOfCompose,
  normalisedComposeHash,
  parseAppCompose,
} from "@dstack/compose";
import { CliError } from "../terminal/errors.ts";
import type { Cli } from "../clients/cli.ts";
import { visible } from "../terminal/output.ts";
import type { ComposeHashOptions } from "./options.ts";

/** `dstack compose hash` */
export async function composeHash({ out }: Cli, file: string, options: ComposeHashOptions): Promise<void> {
  const normalised = options.normalised ?? false;
  if (options.dropUnused === true && !normalised)
    throw new CliError("usage", "--drop-unused goes with --normalised: the bytes of a manifest are hashed as they are");
  const bytes = await readFile(file).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") throw new CliError("not-found", `${file} does not exist`);
    throw cause;
  });
  if (bytes.length > APP_COMPOSE_MAX_BYTES)
    throw new CliError("failed", `${file} has ${bytes.length} bytes, a guest takes at most ${APP_COMPOSE_MAX_BYTES}`);
  const compose = manifest(file, bytes, out.say);
  const hash = toHex(normalised ? normalisedComposeHash(compose, options.dropUnused ?? false) : hashOfCompose(bytes));
  if (options.output === "json") return out.json({ compose_hash: hash, normalised });
  out.print(hash);
}

/** The manifest as an object; what a guest would refuse in it is said, because its hash is then of no use. */
function manifest(file: string, bytes: Uint8Array, say: (text: string) => void): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new CliError("failed", `${file} is not JSON`, {
      hint: "give the app's manifest, app-compose.json; a docker-compose file is inside that",
      cause,
    });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new CliError("failed", `${file} is JSON, but not an object`);
  try {
    parseAppCompose(bytes);
  } catch (error) {
    if (!(error instanceof ComposeError)) throw error;
    say(`note: guests refuse this manifest: ${visible(error.message)}`);
  }
  return value as Readonly<Record<string, unknown>>;
}
