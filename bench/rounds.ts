/** One of several ways to do the same work. */
export interface Contestant {
  readonly name: string;
  readonly run: () => unknown;
}

/**
 * Milliseconds of CPU time per call of each contestant, the median over `rounds`. They take turns in every round,
 * so that what else the machine does falls on all of them; a turn repeats the call for about `turnMs`.
 */
export async function rounds(
  contestants: readonly Contestant[],
  options: { readonly rounds: number; readonly turnMs: number },
): Promise<ReadonlyMap<string, number>> {
  const repeats: number[] = [];
  for (const { run } of contestants) repeats.push(await repeatsFor(run, options.turnMs));
  const times = contestants.map((): number[] => []);
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, { run }] of contestants.entries())
      times[index]!.push((await cpuMs(run, repeats[index]!)) / repeats[index]!);
  }
  return new Map(contestants.map(({ name }, index) => [name, median(times[index]!)]));
}

/** Warms up on the way. */
async function repeatsFor(run: () => unknown, turnMs: number): Promise<number> {
  let count = 1;
  for (;;) {
    const tookMs = await cpuMs(run, count);
    if (tookMs * 2 >= turnMs || count >= 1_000_000)
      return Math.max(1, Math.round((count * turnMs) / Math.max(tookMs, 0.001)));
    count *= 2;
  }
}

async function cpuMs(run: () => unknown, count: number): Promise<number> {
  const begun = process.cpuUsage();
  for (let i = count; i > 0; i--) {
    const running = run();
    if (running instanceof Promise) await running;
  }
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1000;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
