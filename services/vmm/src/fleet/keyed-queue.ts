export type KeyedQueue = <T>(key: string | symbol, work: () => Promise<T>) => Promise<T>;

/** Runs work of one key strictly one after another, of different keys side by side. */
export function keyedQueue(): KeyedQueue {
  const tails = new Map<string | symbol, Promise<unknown>>();
  return async (key, work) => {
    const before = tails.get(key) ?? Promise.resolve();
    const mine = before.then(work, work);
    tails.set(key, mine);
    try {
      return await mine;
    } finally {
      if (tails.get(key) === mine) tails.delete(key);
    }
  };
}
