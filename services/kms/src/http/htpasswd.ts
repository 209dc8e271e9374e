import { compare } from "bcryptjs";
import { KmsError } from "../errors.ts";

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
 * Whether this is a user's password. One check at a time: bcrypt is meant to be slow, and the keys are
 * served by the same process.
 */
export function passwordCheck(
  users: ReadonlyMap<string, string>,
): (user: string, password: string) => Promise<boolean> {
  const [decoy] = users.values();
  let tail: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  return async (user, password) => {
    if (decoy === undefined || waiting >= MAX_WAITING) return false;
    const hash = users.get(user);
    waiting++;
    // An unknown user takes as long as a known one, and is refused whatever the comparison says.
    const check = tail.then(() => compare(password, hash ?? decoy));
    tail = check.catch(() => undefined);
    try {
      return (await check) && hash !== undefined;
    } finally {
      waiting--;
    }
  };
}

const invalid = (text: string): KmsError => new KmsError("config-invalid", `core.admin.htpasswd_file: ${text}`);
