import { ConfigError } from "./errors.ts";
import { editDistance, type UnknownKey } from "./unknown-keys.ts";

/**
 * Ends a start whose file seems to ask for protection in words that nothing reads.
 * @param protects keys, as dots join them, without which less is refused
 * @throws ConfigError `invalid` naming the key that was probably meant
 */
export function refuseNearMisses(unknown: readonly UnknownKey[], protects: readonly string[], file: string): void {
  for (const { key } of unknown) {
    const path = key.split(".");
    const name = path.at(-1) ?? "";
    const above = path.slice(0, -1);
    const meant = protects
      .map((one) => one.split("."))
      .find((one) => above.every((table, at) => table === one[at]) && isNearMiss(name, one[above.length]));
    if (meant !== undefined)
      throw new ConfigError(
        "invalid",
        `${file}: unknown key ${key}; did you mean ${meant.slice(0, path.length).join(".")}? It protects, and under another name it would not`,
      );
  }
}

/** One or two letters off, fewer in a short name; in another style of writing; or with a word more or less at an end. */
function isNearMiss(name: string, meant: string | undefined): boolean {
  if (meant === undefined) return false;
  if (hasOneWordMore(name, meant) || hasOneWordMore(meant, name)) return true;
  const [a, b] = [plain(name), plain(meant)];
  return editDistance(a, b) <= Math.min(2, Math.floor(b.length / 3));
}

const hasOneWordMore = (longer: string, shorter: string): boolean =>
  longer.startsWith(`${shorter}_`) || longer.endsWith(`_${shorter}`);

const plain = (name: string): string => name.toLowerCase().replaceAll(/[-_]/g, "");
