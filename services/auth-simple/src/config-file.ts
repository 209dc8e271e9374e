import { open } from "node:fs/promises";
import { DENY_ALL, GovernanceError, parseAuthConfig, type AuthConfig, type Switches } from "@dstack/governance";
import type { Logger } from "@dstack/log";

const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** A file changed this recently may change again within one tick of its timestamps. */
const FRESH_MS = 2_000;

export interface CurrentConfig {
  readonly config: AuthConfig;
  /** Why the file as it is now is not what is in force. */
  readonly configError: string | undefined;
}

/**
 * The configuration file, looked at again for every request.
 * No file: nobody may boot. Broken from the start: nobody may boot. Broken after it was good: the
 * good one stays in force, since a slip of the pen must not stop a fleet from booting.
 */
export class ConfigFile {
  readonly #path: string;
  readonly #switches: Switches;
  readonly #log: Logger;
  #seen = "";
  #text: string | undefined;
  #current: CurrentConfig = { config: DENY_ALL, configError: "not read yet" };
  #loading: Promise<CurrentConfig> | undefined;

  constructor(path: string, switches: Switches, log: Logger) {
    this.#path = path;
    this.#switches = switches;
    this.#log = log;
  }

  /** What is in force now. Requests that come together share one look at the file. */
  current(): Promise<CurrentConfig> {
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #load(): Promise<CurrentConfig> {
    let read: { readonly stamp: string; readonly text: string } | undefined;
    try {
      read = await this.#read();
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
      const text = isMissing
        ? `config file not found: ${this.#path}`
        : `config file ${this.#path} cannot be read: ${(error as Error).message}`;
      // A file that was taken away takes its permissions with it; one that cannot be read now may be back in a moment.
      return this.#fail(text, isMissing);
    }
    if (read === undefined) return this.#current;
    if (read.text === this.#text) {
      this.#seen = read.stamp;
      return this.#current;
    }
    this.#text = read.text;
    this.#seen = read.stamp;
    try {
      const { config, warnings } = parseAuthConfig(read.text, this.#switches);
      for (const warning of warnings) this.#log.warn({ path: this.#path }, warning);
      this.#log.info(
        { path: this.#path, apps: config.apps.size, osImages: config.osImages.size },
        "configuration is in force",
      );
      this.#current = { config, configError: undefined };
    } catch (error) {
      if (!(error instanceof GovernanceError)) throw error;
      return this.#fail(`failed to load config: ${this.#path}: ${error.message}`, false);
    }
    return this.#current;
  }

  /** The file's text, or undefined where it is surely the one that was read before. */
  async #read(): Promise<{ readonly stamp: string; readonly text: string } | undefined> {
    const file = await open(this.#path, "r");
    try {
      const stat = await file.stat({ bigint: true });
      const stamp = `${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
      const isFresh = Date.now() - Number(stat.ctimeMs) < FRESH_MS;
      if (stamp === this.#seen && !isFresh) return undefined;
      if (stat.size > BigInt(MAX_FILE_BYTES)) throw new Error(`${stat.size} bytes, limit ${MAX_FILE_BYTES}`);
      return { stamp, text: await file.readFile("utf8") };
    } finally {
      await file.close();
    }
  }

  #fail(text: string, isGone: boolean): CurrentConfig {
    if (text !== this.#current.configError) this.#log.error({ path: this.#path }, text);
    if (isGone) {
      this.#seen = "";
      this.#text = undefined;
    }
    this.#current = { config: isGone ? DENY_ALL : this.#current.config, configError: text };
    return this.#current;
  }
}
