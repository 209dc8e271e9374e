import { networkOf } from "@dstack/rpc";
import { KmsError } from "../errors.ts";

const MAX_USERS = 1_000;
/** 2^14 rounds take a second of CPU: enough for a password, and a bound on what a guess costs us. */
const MAX_COST = 14;
/** Checks that may wait from one address (IPv6: one /64), and addresses that may have some: anybody who reaches the listener can ask. */
const MAX_WAITING_OF_ONE = 4;
const MAX_ADDRESSES = 256;

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
 * served by the same process. Addresses take turns, so that one that asks and asks keeps nobody out.
 */
export function passwordCheck(
  users: ReadonlyMap<string, string>,
  // Loaded where there are users: most administrations have a token.
  check: (password: string, hash: string) => Promise<boolean> = async (password, hash) =>
    (await import("bcryptjs")).compare(password, hash),
): (user: string, password: string, from?: string) => Promise<boolean> {
  const [decoy] = users.values();
  const waiting = new Map<string, (() => Promise<void>)[]>();
  let isRunning = false;
  const run = async (): Promise<void> => {
    isRunning = true;
    for (let [turn] = waiting; turn !== undefined; [turn] = waiting) {
      const [address, queue] = turn;
      const next = queue.shift();
      // To the end of the row, or out of it.
      waiting.delete(address);
      if (queue.length > 0) waiting.set(address, queue);
      await next?.();
    }
    isRunning = false;
  };
  return (user, password, from = "") => {
    const address = networkOf(from);
    const queue = waiting.get(address) ?? [];
    if (decoy === undefined || queue.length >= MAX_WAITING_OF_ONE) return Promise.resolve(false);
    if (queue.length === 0 && waiting.size >= MAX_ADDRESSES) return Promise.resolve(false);
    const hash = users.get(user);
    return new Promise((resolve, reject) => {
      queue.push(async () => {
        try {
          // An unknown user takes as long as a known one, and is refused whatever the comparison says.
          resolve((await check(password, hash ?? decoy)) && hash !== undefined);
        } catch (error) {
          reject(error as Error);
        }
      });
      waiting.set(address, queue);
      if (!isRunning) void run();
    });
  };
}

const invalid = (text: string): KmsError => new KmsError("config-invalid", `core.admin.htpasswd_file: ${text}`);
