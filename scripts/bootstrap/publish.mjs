import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";

const PREFIX = ".bootstrap-";

/**
 * Fills a new folder and moves it to its final name in one rename: a kill leaves either nothing
 * or all of it. The caller holds the lock; leftovers of killed runs are removed first.
 *
 * @param {string} parent the folder to publish in
 * @param {(folder: string) => Promise<string>} fill gives the final name
 * @returns {Promise<string>} that name
 */
export async function publishFolder(parent, fill) {
  mkdirSync(parent, { recursive: true });
  for (const name of readdirSync(parent)) {
    if (name.startsWith(PREFIX)) rmSync(join(parent, name), { recursive: true, force: true });
  }
  const fresh = join(parent, `${PREFIX}new`);
  const old = join(parent, `${PREFIX}old`);
  mkdirSync(fresh);
  try {
    const name = await fill(fresh);
    const target = join(parent, name);
    if (readdirSync(parent).includes(name)) renameSync(target, old);
    renameSync(fresh, target);
    sync(parent);
    return name;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
    rmSync(old, { recursive: true, force: true });
  }
}

/** Points the symbolic link `link` at `target` in one step. */
export function publishLink(/** @type {string} */ target, /** @type {string} */ link) {
  const fresh = join(dirname(link), `${PREFIX}link`);
  rmSync(fresh, { force: true });
  symlinkSync(target, fresh);
  renameSync(fresh, link);
  sync(dirname(link));
}

/** Waits until a file's or folder's own content is on the disk. */
export function sync(/** @type {string} */ path) {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
