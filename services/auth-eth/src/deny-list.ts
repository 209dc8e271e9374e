import { readFile } from "node:fs/promises";
import { GovernanceError } from "@dstack/governance";
import { exactHex } from "@dstack/governance/chain";

/**
 * Apps that this server shuts out whatever the contracts say, since registering an app is open to all and
 * cannot be undone on deployed contracts (DS #1293). A file with one app id per line, `#` begins a comment; read for every request.
 */
export interface DenyList {
  /** @throws GovernanceError `config-invalid` naming the line: a list that cannot be read denies, it does not allow */
  includes(appId: string): Promise<boolean>;
}

const MAX_BYTES = 64 * 1024 * 1024;

export function denyListOf(path: string | undefined): DenyList {
  if (path === undefined) return { includes: () => Promise.resolve(false) };
  return {
    includes: async (appId) => {
      let text: string;
      try {
        text = await readFile(path, "utf8");
      } catch (cause) {
        throw new GovernanceError("config-invalid", `deny list ${path} cannot be read: ${(cause as Error).message}`, {
          cause,
        });
      }
      if (text.length > MAX_BYTES)
        throw new GovernanceError("config-invalid", `deny list ${path}: more than ${MAX_BYTES} bytes`);
      const wanted = exactHex(appId, 20, "appId");
      return text.split("\n").some((line, index) => {
        const entry = line.replace(/#.*/, "").trim();
        if (entry === "") return false;
        try {
          return exactHex(entry, 20, `line ${index + 1}`) === wanted;
        } catch (cause) {
          throw new GovernanceError("config-invalid", `deny list ${path}: ${(cause as Error).message}`, { cause });
        }
      });
    },
  };
}
