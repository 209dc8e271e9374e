import type { IncomingHttpHeaders } from "node:http";
import { compare } from "bcryptjs";
import { KmsError } from "../errors.ts";
import { isSameSecret } from "./same-secret.ts";

export interface AdminCredentials {
  /** The shared token; undefined where only users are known. */
  readonly token: string | undefined;
  /** bcrypt hashes by user name, of an htpasswd file. */
  readonly users: ReadonlyMap<string, string>;
}

const MAX_USERS = 1_000;
/** 2^14 rounds take a second of CPU: enough for a password, and a bound on what a guess costs us. */
const MAX_COST = 14;
/** Password checks that may wait; anybody who reaches the listener can ask for one. */
const MAX_WAITING = 16;

/**
 * Lines `user:hash` and `#` comments, bcrypt alone.
 * @throws KmsError `config-invalid` for an empty file, another kind of hash, a user twice
 */
export function parseHtpasswd(text: string): ReadonlyMap<string, string> {
  const users = new Map<string, string>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.trimStart().startsWith("#")) continue;
    const [, user, hash] = /^([^:]{1,255}):(\$2[aby]\$\d\d\$[./A-Za-z0-9]{53})\s*$/.exec(line) ?? [];
    if (user === undefined || hash === undefined)
      throw invalid(
        `line ${index + 1} is not "user:hash" with a bcrypt hash ($2a$, $2b$, $2y$); make one with htpasswd -B`,
      );
    const cost = Number(hash.slice(4, 6));
    if (cost < 4 || cost > MAX_COST)
      throw invalid(`line ${index + 1} has a cost of ${cost}; expected 4 to ${MAX_COST}`);
    if (users.has(user)) throw invalid(`line ${index + 1} names a user for the second time`);
    if (users.size >= MAX_USERS) throw invalid(`more than ${MAX_USERS} users`);
    users.set(user, hash);
  }
  if (users.size === 0) throw invalid("it names no user");
  return users;
}

/**
 * Whether a request may administer: X-Admin-Token, Bearer, or Basic with the token in either half
 * or with a user of the htpasswd file. A wrong bearer is final.
 */
export class AdminAuth {
  readonly #credentials: AdminCredentials;
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(credentials: AdminCredentials) {
    this.#credentials = credentials;
  }

  async allows(headers: IncomingHttpHeaders): Promise<boolean> {
    const { token } = this.#credentials;
    const { authorization } = headers;
    const bearer = /^Bearer\s+(.*)$/i.exec(authorization ?? "")?.[1];
    if (bearer !== undefined) return token !== undefined && isSameSecret(bearer, token);
    const header = headers["x-admin-token"];
    if (token !== undefined && typeof header === "string" && isSameSecret(header, token)) return true;
    const basic = /^Basic\s+([A-Za-z0-9+/=]+)$/i.exec(authorization ?? "")?.[1];
    if (basic === undefined) return false;
    const [user = "", ...rest] = Buffer.from(basic, "base64").toString("utf8").split(":");
    const password = rest.join(":");
    if (token !== undefined && (isSameSecret(password, token) || (password === "" && isSameSecret(user, token))))
      return true;
    return this.#isUser(user, password);
  }

  /** One check at a time: bcrypt is meant to be slow, and the keys are served by the same process. */
  async #isUser(user: string, password: string): Promise<boolean> {
    const { users } = this.#credentials;
    const [decoy] = users.values();
    if (decoy === undefined || this.#waiting >= MAX_WAITING) return false;
    const hash = users.get(user);
    this.#waiting++;
    // An unknown user takes as long as a known one, and is refused whatever the comparison says.
    const check = this.#tail.then(() => compare(password, hash ?? decoy));
    this.#tail = check.catch(() => undefined);
    try {
      return (await check) && hash !== undefined;
    } finally {
      this.#waiting--;
    }
  }
}

const invalid = (text: string): KmsError => new KmsError("config-invalid", `core.admin.htpasswd_file: ${text}`);
