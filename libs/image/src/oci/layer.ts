/** One layer of a container image: a tar with fixed times and owners, so that equal contents give equal digests. */
import { buffer } from "node:stream/consumers";
import { pack } from "tar-stream";

export type LayerEntry =
  | { readonly kind: "directory"; readonly path: string; readonly mode?: number }
  | { readonly kind: "file"; readonly path: string; readonly bytes: Uint8Array; readonly mode?: number }
  | { readonly kind: "link"; readonly path: string; readonly target: string };

/** Uncompressed tar (USTAR). Paths are relative; folders come before what is in them. */
export async function makeLayer(entries: readonly LayerEntry[]): Promise<Uint8Array> {
  const archive = pack();
  const fixed = { mtime: new Date(0), uid: 0, gid: 0, uname: "", gname: "" };
  for (const entry of entries) {
    switch (entry.kind) {
      case "directory":
        archive.entry({ ...fixed, name: `${entry.path}/`, type: "directory", mode: entry.mode ?? 0o755 });
        break;
      case "file":
        archive.entry(
          { ...fixed, name: entry.path, type: "file", mode: entry.mode ?? 0o644 },
          Buffer.from(entry.bytes),
        );
        break;
      case "link":
        archive.entry({ ...fixed, name: entry.path, type: "symlink", linkname: entry.target, mode: 0o777 });
        break;
    }
  }
  archive.finalize();
  return buffer(archive);
}
