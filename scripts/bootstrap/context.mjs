import { accessSync, constants, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, isAbsolute, join } from "node:path";
import { Failure } from "./failure.mjs";

/**
 * What every step needs to know: folders, environment, where to talk.
 *
 * @typedef {object} Context
 * @property {string} root the checkout
 * @property {string} cacheDir $XDG_CACHE_HOME/dstack
 * @property {string} stateDir $XDG_STATE_HOME/dstack
 * @property {NodeJS.ProcessEnv} env for children; PATH grows as tools arrive
 * @property {(line: string) => void} say one line of talk for the user (stderr)
 * @property {Map<import("node:child_process").ChildProcess, {mustFinish: boolean}>} children running ones, to pass signals to
 * @property {number[]} lockFds handed to children, so that a lock lives as long as the work under it
 */

/**
 * @param {{root: string, env: NodeJS.ProcessEnv, say: (line: string) => void}} options
 * @returns {Context}
 */
export function createContext({ root, env, say }) {
  return {
    root,
    cacheDir: join(baseFolder(env.XDG_CACHE_HOME, ".cache", env), "dstack"),
    stateDir: join(baseFolder(env.XDG_STATE_HOME, join(".local", "state"), env), "dstack"),
    env: { ...env },
    say,
    children: new Map(),
    lockFds: [],
  };
}

/** Makes the cache and state folders; refuses with the folder's name when one cannot be written. */
export function makeFolders(/** @type {Context} */ context) {
  for (const [name, folder] of [
    ["cache", context.cacheDir],
    ["state", context.stateDir],
  ]) {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      accessSync(folder, constants.W_OK);
    } catch (error) {
      throw new Failure(
        `the ${name} folder ${folder} cannot be written (${error.code ?? error.message})`,
        `XDG_${name.toUpperCase()}_HOME=<a folder you can write> npm start`,
        error,
      );
    }
  }
}

/** Puts folders in front of the PATH that children get. */
export function prependPath(/** @type {Context} */ context, /** @type {string} */ ...folders) {
  const rest = (context.env.PATH ?? "/usr/bin:/bin").split(delimiter).filter((folder) => !folders.includes(folder));
  context.env.PATH = [...folders, ...rest].join(delimiter);
}

// The XDG base directory rules: an unset, empty or relative value counts as unset.
function baseFolder(value, fallback, env) {
  if (value !== undefined && isAbsolute(value)) return value;
  return join(env.HOME || homedir(), fallback);
}
