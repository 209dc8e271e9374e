/**
 * Where this host gets Debian packages from, read from its own apt sources, so that a
 * configured mirror or proxy serves the image too. Formats: sources.list(5), one-line and deb822.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { ImageError } from "../errors.ts";

export interface Mirror {
  /** Base of the archive that has `dists/` and `pool/`. */
  readonly main: string;
  /** Base of the security archive; undefined when the host has none configured. */
  readonly security: string | undefined;
}

/**
 * Finds the mirror, or takes `override` (environment DSTACK_DEBIAN_MIRROR), the base of a Debian archive.
 * @throws ImageError `no-mirror`
 */
export async function findMirror(etcApt = "/etc/apt", override?: string): Promise<Mirror> {
  const uris: { uri: string; suites: string[] }[] = [];
  const read = async (path: string): Promise<string> => readFile(path, "utf8").catch(() => "");
  uris.push(...parseOneLine(await read(join(etcApt, "sources.list"))));
  for (const name of (await readdir(join(etcApt, "sources.list.d")).catch(() => [])).sort()) {
    const text = await read(join(etcApt, "sources.list.d", name));
    if (name.endsWith(".list")) uris.push(...parseOneLine(text));
    if (name.endsWith(".sources")) uris.push(...parseDeb822(text));
  }
  const security = uris.find(({ suites }) => suites.some((suite) => /^[a-z]+-security$/.test(suite)))?.uri;
  const main =
    override ??
    uris.find(
      ({ uri, suites }) =>
        uri.endsWith("/debian") &&
        suites.some((suite) => /^(bookworm|trixie|forky|sid|stable|testing|unstable)$/.test(suite)),
    )?.uri;
  if (main === undefined) {
    throw new ImageError(
      "no-mirror",
      `no Debian archive among the apt sources under ${etcApt}; set DSTACK_DEBIAN_MIRROR to the base address of one (it has the folders dists and pool)`,
    );
  }
  return { main, security: override === undefined ? security : undefined };
}

function parseOneLine(text: string): { uri: string; suites: string[] }[] {
  return text.split("\n").flatMap((line) => {
    const match = /^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s/.exec(`${line.trim()} `);
    return match?.[1] === undefined || match[2] === undefined ? [] : [{ uri: trimSlash(match[1]), suites: [match[2]] }];
  });
}

function parseDeb822(text: string): { uri: string; suites: string[] }[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const lines = stanza
      .split("\n")
      .filter((line) => !line.startsWith("#"))
      .join("\n");
    const field = (name: string): string[] =>
      new RegExp(`^${name}:(.*(?:\\n[ \\t].*)*)`, "mi").exec(lines)?.[1]?.trim().split(/\s+/) ?? [];
    if (!field("Types").includes("deb") || field("Enabled")[0] === "no") return [];
    return field("URIs").map((uri) => ({ uri: trimSlash(uri), suites: field("Suites") }));
  });
}

const trimSlash = (uri: string): string => uri.replace(/\/+$/, "");
