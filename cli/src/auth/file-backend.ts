import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { readTextIfExists } from "@dstack/files";
import { changeDocument, decide, parseAuthConfig, readSwitches } from "@dstack/governance";
import { checkHistory } from "@dstack/governance/history";
import { CliError } from "../terminal/errors.ts";
import type { AuthBackend } from "./backend.ts";
import { changePolicyFile, historyPathOf, readPolicyFile, type PolicyFile } from "./policy-file.ts";

/** A policy in an auth-config.json, as auth-simple reads it. `isNamed`: `--config` named it, so proposed commands must too. */
export function fileBackend(file: PolicyFile, isNamed: boolean): AuthBackend {
  const { path, env } = file;
  return {
    name: path,
    selector: isNamed ? ` --config ${path}` : "",
    document: () => readPolicyFile(path),
    apply: async (changes) => {
      // The deployment's own is made with its folder; a path that was typed may be mistyped.
      if (isNamed && !existsSync(dirname(path)))
        throw new CliError("not-found", `--config ${path}: there is no folder ${dirname(path)}`);
      const isNew = !existsSync(path);
      await changePolicyFile(file, (policy) => changes.reduce(changeDocument, policy));
      return [`written to ${path}${isNew ? ", a new file" : ""}; in force at the next request`];
    },
    decide: async (kind, boot) =>
      decide(parseAuthConfig(JSON.stringify(await readPolicyFile(path)), readSwitches(env)).config, kind, boot),
    history: async (signedBy) => {
      const { entries, broken } = checkHistory((await readTextIfExists(historyPathOf(path))) ?? "");
      const present = await readTextIfExists(path);
      const last = entries.at(-1);
      const foreign =
        signedBy.length === 0 ? undefined : entries.find(({ key }) => !signedBy.includes(fingerprint(key)));
      const isByHand = last !== undefined && last.after !== (present === undefined ? "" : sha256(present));
      return {
        lines: entries.map(({ at, by, changes, key }) => ({
          at,
          by: `${by} (key ${fingerprint(key)})`,
          what: changes.map(({ sign, path: place, value }) => `${sign} ${place} ${value}`),
        })),
        broken:
          broken !== undefined
            ? `${historyPathOf(path)}: ${broken}`
            : foreign !== undefined
              ? `${historyPathOf(path)}: entry ${foreign.sequence} is signed by key ${fingerprint(foreign.key)}, which is none of those that count`
              : isByHand
                ? `${path} is not as the last entry left it: it was changed by hand`
                : undefined,
      };
    },
  };
}

/** How people tell keys apart: 128 bits of the SHA-256 of the public key. */
const fingerprint = (key: string): string => sha256(Buffer.from(key, "base64")).slice(0, 32);

const sha256 = (bytes: string | Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
