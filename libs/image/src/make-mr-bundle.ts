/**
 * mr_{os_image_hash}.tar.gz: what a verifier needs to measure an image, flat and without
 * the root file system. Same bytes for the same image: sorted names, time 0, owner 0.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { toHex } from "@dstack/bytes";
import { pack } from "tar-stream";
import { ImageError } from "./errors.ts";
import { verifyImageFiles } from "./verify-image-files.ts";

/** Writes the bundle of the image in `dir` into `outDir` and gives its path. @throws ImageError `bad-checksums` */
export async function makeMrBundle(dir: string, outDir: string): Promise<string> {
  const verified = await verifyImageFiles(dir);
  if (!verified.ok) throw new ImageError("bad-checksums", `${dir}: ${verified.reason}`);
  const names = (await readdir(dir))
    .filter((name) => verified.files.includes(name) || name === "sha256sum.txt" || name === "digest.txt")
    .sort();
  const path = join(outDir, `mr_${toHex(verified.osImageHash)}.tar.gz`);
  const temporary = `${path}.tmp-${process.pid}`;
  const archive = pack();
  const written = pipeline(archive, createGzip({ level: 6 }), createWriteStream(temporary));
  // It is awaited when all is in it; until then its failure shows in what is put in.
  written.catch(() => undefined);
  try {
    for (const name of names) {
      const { size } = await stat(join(dir, name));
      const entry = archive.entry({
        name,
        size,
        mode: 0o644,
        mtime: new Date(0),
        uid: 0,
        gid: 0,
        uname: "",
        gname: "",
      });
      await pipeline(createReadStream(join(dir, name)), entry);
    }
    archive.finalize();
    await written;
    await rename(temporary, path);
  } catch (error) {
    archive.destroy();
    await written.catch(() => undefined); // The first error is the one to report.
    await rm(temporary, { force: true });
    throw error;
  }
  return path;
}
