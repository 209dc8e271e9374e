import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { Failure } from "./failure.mjs";
import { npm } from "./npm.mjs";
import { publishFolder, sync } from "./publish.mjs";
import { run, tail } from "./run.mjs";

/**
 * The pinned Node: which, from the lockfile and scripts/node.lock.json, and where it is in the cache.
 *
 * @param {import("./context.mjs").Context} context
 * @returns {{package: string, version: string, integrity: string, sha256: string, sizeBytes: number, folder: string, path: string}}
 */
export function pinnedNode(context) {
  const pin = JSON.parse(readFileSync(join(context.root, "scripts", "node.lock.json"), "utf8"));
  const lock = JSON.parse(readFileSync(join(context.root, "package-lock.json"), "utf8"));
  const entry = lock.packages?.[`node_modules/${pin.package}`];
  if (entry?.version !== pin.version || !/^sha512-[A-Za-z0-9+/]{86}==$/.test(entry?.integrity ?? "")) {
    throw new Failure(
      `scripts/node.lock.json pins ${pin.package} ${pin.version}, package-lock.json has ${entry?.version ?? "none"} (${entry?.integrity ? "with" : "without"} an integrity value)`,
      "git checkout -- package-lock.json scripts/node.lock.json",
    );
  }
  const folder = join(context.cacheDir, "node");
  return { ...pin, integrity: entry.integrity, folder, path: join(folder, pin.version, "bin", "node") };
}

/** Is it there? It was checked before it got its name, so only its size is looked at. */
export function nodeInPlace(/** @type {import("./context.mjs").Context} */ context) {
  const pin = pinnedNode(context);
  return existsSync(pin.path) && statSync(pin.path).size === pin.sizeBytes;
}

/** Fetches the pinned Node through npm, checks both hashes, unpacks it into the cache. The caller holds the lock. */
export async function installNode(/** @type {import("./context.mjs").Context} */ context) {
  const pin = pinnedNode(context);
  context.say(`fetching Node ${pin.version} (${Math.round(pin.sizeBytes / 1e6)} MB unpacked) into ${pin.folder}`);
  await publishFolder(pin.folder, async (fresh) => {
    const packed = join(fresh, "packed");
    mkdirSync(packed);
    await npm(context, process.execPath, ["pack", `${pin.package}@${pin.version}`, "--pack-destination", packed], {
      label: `fetching Node ${pin.version}`,
      timeoutMs: 900_000,
      what: `fetching Node ${pin.version}`,
    });
    const tarballs = readdirSync(packed).map((name) => join(packed, name));
    if (tarballs.length !== 1)
      throw new Failure(
        `npm pack left ${tarballs.length} files where one tarball was expected`,
        "run the same command again",
      );
    expectHash(
      `the package ${pin.package}@${pin.version}`,
      pin.integrity,
      `sha512-${await hashFile(tarballs[0], "sha512", "base64")}`,
    );
    const { code, stderr } = await run(
      context,
      "tar",
      ["-xzf", tarballs[0], "-C", fresh, "--strip-components=1", "--no-same-owner"],
      { timeoutMs: 120_000 },
    );
    if (code !== 0)
      throw new Failure(
        `the Node package could not be unpacked:\n${tail(stderr)}`,
        "df -h   # is the disk full? make room and run the same command again",
      );
    rmSync(packed, { recursive: true });
    const binary = join(fresh, "bin", "node");
    expectHash(`${pin.package}@${pin.version} bin/node`, pin.sha256, await hashFile(binary, "sha256", "hex"));
    sync(binary);
    return pin.version;
  });
}

async function hashFile(path, algorithm, encoding) {
  const hash = createHash(algorithm);
  await pipeline(createReadStream(path), hash);
  return hash.digest(encoding);
}

function expectHash(what, expected, actual) {
  if (actual === expected) return;
  throw new Failure(
    `${what} is not the pinned one and was not used: expected ${expected}, got ${actual}`,
    "npm cache clean --force   # then again; if it stays so, the registry that npm is set to serves something else",
  );
}
