/** One of several ways to do the same work. */
export interface Contestant {
  readonly name: string;
  readonly run: () => unknown;
}

/**
 * Milliseconds per call of each contestant, the median over `rounds`. They take turns in every round,
 * so that what else the machine does falls on all of them; a turn repeats the call for about `turnMs`.
 */
export function rounds(
  contestants: readonly Contestant[],
  options: { readonly rounds: number; readonly turnMs: number },
): ReadonlyMap<string, number> {
  const repeats = contestants.map(({ run }) => repeatsFor(run, options.turnMs));
  const times = contestants.map((): number[] => []);
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, { run }] of contestants.entries()) {
      const begun = performance.now();
      for (let i = repeats[index]!; i > 0; i--) run();
      times[index]!.push((performance.now() - begun) / repeats[index]!);
    }
  }
  return new Map(contestants.map(({ name }, index) => [name, median(times[index]!)]));
}

/** Warms up on the way. */
function repeatsFor(run: () => unknown, turnMs: number): number {
  let count = 1;
  for (;;) {
    const begun = performance.now();
    for (let i = 0; i < count; i++) run();
    const tookMs = performance.now() - begun;
    if (tookMs * 2 >= turnMs || count >= 1_000_000)
      return Math.max(1, Math.round((count * turnMs) / Math.max(tookMs, 0.001)));
    count *= 2;
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
