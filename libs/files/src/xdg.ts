import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

type Environment = Readonly<Record<string, string | undefined>>;

/** Where state that must be kept lives: $XDG_STATE_HOME/dstack, else ~/.local/state/dstack. */
export const stateDirectory = (env: Environment): string => join(base(env["XDG_STATE_HOME"], ".local/state"), "dstack");

/** Where things that can be made again live: $XDG_CACHE_HOME/dstack, else ~/.cache/dstack. */
export const cacheDirectory = (env: Environment): string => join(base(env["XDG_CACHE_HOME"], ".cache"), "dstack");

// The XDG base directory specification ignores relative values.
const base = (value: string | undefined, fallback: string): string =>
  value !== undefined && isAbsolute(value) ? value : join(homedir(), fallback);
