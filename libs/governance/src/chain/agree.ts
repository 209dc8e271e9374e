/**
 * How several endpoints of a chain are heard. In: what each shows of the chain, and what each tells of a block. Out:
 * what a quorum tells alike of one block. As long as a quorum of honest endpoints is left, the others can neither
 * decide nor keep them from deciding, whether they lie, lag, hang, claim blocks that nobody has, or are on another chain.
 * An endpoint that shows an old block and tells the truth about it is no help to undo what came after: being late never
 * makes an older block count, and nothing is read far below what a quorum may have.
 */
import type { Hex } from "viem";
import { GovernanceError } from "../errors.ts";
import { reasonOf, type Endpoint } from "./endpoint.ts";

/** What an endpoint shows of the chain. */
export interface View {
  readonly endpoint: Endpoint;
  readonly chainId: number;
  /** The newest block that counts there. */
  readonly height: bigint;
}

/** What an endpoint tells of a block. */
export interface Told<T> {
  readonly hash: Hex;
  readonly value: T;
}

export interface Agreed<T> extends Told<T> {
  readonly chainId: number;
  readonly height: bigint;
}

export interface Hearing<T> {
  readonly endpoints: readonly Endpoint[];
  /** How many must tell the same: more than half. */
  readonly quorum: number;
  /** Nothing older is read: the highest block of this chain that was read before. */
  readonly floor: { readonly chainId: number; readonly height: bigint } | undefined;
  readonly deadlineMs: number;
  look(endpoint: Endpoint): Promise<View>;
  tell(endpoint: Endpoint, height: bigint): Promise<Told<T>>;
}

interface Failure {
  readonly endpoint: Endpoint;
  readonly error: unknown;
}

/** The question about one block. */
interface Round<T> {
  readonly height: bigint;
  /** Whether it is the block that was read before. */
  readonly isLeast: boolean;
  readonly asked: Set<Endpoint>;
  readonly good: { readonly endpoint: Endpoint; readonly told: Told<T> }[];
  readonly bad: Failure[];
}

/** The part of the deadline after which those who have not answered are no longer waited for. */
const LATE = 0.75;
/** How many blocks below the newest that a quorum may have are read at most: honest nodes are a few apart. */
const REACH = 3n;
/** A server may have, or show, a moment later what it did not: it catches up, or is several nodes behind one address. */
const AGAIN = { tries: 4, pauseMs: 500 } as const;

/**
 * The newest block that a quorum has and tells alike. Where the quorum's newest has failed, since one of those who claim
 * it lies, the next lower one is read that they and others have, within reach.
 * @throws GovernanceError `chain-unreachable`, `chain-wrong`, `chain-stale`, `chain-disagrees`
 */
export async function agree<T>({ endpoints, quorum, floor, deadlineMs, look, tell }: Hearing<T>): Promise<Agreed<T>> {
  const views: View[] = [];
  const blind: Failure[] = [];
  const rounds: Round<T>[] = [];
  const timers = new Set<NodeJS.Timeout>();
  let bell = Promise.withResolvers<void>();
  let isEnded = false;
  const over = { deadline: false, late: false };
  const again = { isRunning: false, left: AGAIN.tries - 1 };

  const after = (ms: number, run: () => void): void => {
    // What is still under way when all is over has nothing to wait for.
    if (!isEnded) timers.add(setTimeout(() => (run(), bell.resolve()), ms));
  };
  const heard = <V>(task: Promise<V>, good: (value: V) => void, bad: (error: unknown) => void): void => {
    void task.then(good, bad).then(() => bell.resolve());
  };
  const pause = (): Promise<void> => new Promise((resolve) => after(AGAIN.pauseMs, resolve));
  const ask = (round: Round<T>, { endpoint, height }: View): void => {
    round.asked.add(endpoint);
    const tries = height < round.height && round.isLeast ? AGAIN.tries : 1;
    heard(
      repeated(() => tell(endpoint, round.height), tries, pause),
      (told) => round.good.push({ endpoint, told }),
      (error) => round.bad.push({ endpoint, error }),
    );
  };

  /** Those who are behind may show more in a moment. */
  const lookAgain = async (behind: readonly View[]): Promise<void> => {
    await pause();
    await Promise.allSettled(
      behind.map(async (view) => {
        const newer = await look(view.endpoint);
        if (newer.chainId === view.chainId && newer.height > view.height) views.splice(views.indexOf(view), 1, newer);
      }),
    );
  };

  try {
    after(deadlineMs, () => (over.deadline = true));
    after(deadlineMs * LATE, () => (over.late = true));
    for (const endpoint of endpoints)
      heard(
        look(endpoint),
        (view) => views.push(view),
        (error) => blind.push({ endpoint, error }),
      );
    for (;;) {
      bell = Promise.withResolvers();
      const usable = ofOneChain(views, quorum);
      const least = floor !== undefined && usable[0]?.chainId === floor.chainId ? floor.height : 0n;
      for (const round of rounds) {
        // Also those who show less: a block that is not final to them they may have all the same.
        for (const view of usable) if (!round.asked.has(view.endpoint)) ask(round, view);
        const told = mostTold(round.good.map((answer) => answer.told));
        if (told.count >= quorum) return { ...told.value!, chainId: usable[0]!.chainId, height: round.height };
      }
      const unheard = endpoints.length - views.length - blind.length;
      const newest = newestWith(usable, quorum, endpoints.length - usable.length);
      const heights = heightsOf(usable, quorum, { least, lowest: newest - REACH });
      const next = heights.find((height) => rounds.every((round) => round.height > height));
      const isDue =
        over.late ||
        (rounds.length === 0 ? !mayRise(usable, quorum, unheard) : unheard === 0 && rounds.every(isLost(quorum)));
      if (next !== undefined && isDue) {
        rounds.push({ height: next, isLeast: next === least, asked: new Set(), good: [], bad: [] });
        continue;
      }
      const behind = rounds.length > 0 ? [] : usable.filter(({ height }) => height < newest);
      if (behind.length > 0 && again.left > 0 && !again.isRunning) {
        Object.assign(again, { isRunning: true, left: again.left - 1 });
        const ended = (): boolean => (again.isRunning = false);
        heard(lookAgain(behind), ended, ended);
      }
      if (next === undefined && unheard === 0 && !again.isRunning && rounds.every(isOver))
        throw refusal({ endpoints, quorum, views, blind, rounds, usable, least });
      if (over.deadline)
        throw new GovernanceError(
          "chain-unreachable",
          `no answer of ${quorum} of ${endpoints.length} endpoints within ${deadlineMs} ms`,
        );
      await bell.promise;
    }
  } finally {
    isEnded = true;
    for (const timer of timers) clearTimeout(timer);
  }
}

const isOver = (round: Round<unknown>): boolean => pending(round) === 0;
const pending = ({ asked, good, bad }: Round<unknown>): number => asked.size - good.length - bad.length;
/** Whether a quorum can no longer tell the same, whatever is still to come. */
const isLost =
  (quorum: number) =>
  (round: Round<unknown>): boolean =>
    mostTold(round.good.map(({ told }) => told)).count + pending(round) < quorum;

/** The views of the chain that a quorum is on. */
function ofOneChain(views: readonly View[], quorum: number): readonly View[] {
  const [most] = [...Map.groupBy(views, ({ chainId }) => chainId).values()].toSorted((a, b) => b.length - a.length);
  return most !== undefined && most.length >= quorum ? most : [];
}

/** The heights to read at that at least a quorum shows, highest first, none below the least or out of reach. */
function heightsOf(
  usable: readonly View[],
  quorum: number,
  { least, lowest }: { readonly least: bigint; readonly lowest: bigint },
): bigint[] {
  const shown = fromHighest(usable).slice(quorum - 1);
  return [...new Set(shown.map((height) => (height < least ? least : height)))].filter((height) => height >= lowest);
}

/** The newest block that a quorum has, if so many others have all blocks: those whose view is not known may. */
const newestWith = (usable: readonly View[], quorum: number, others: number): bigint =>
  fromHighest(usable)[quorum - 1 - others] ?? 0n;

/** Whether those who are still to be heard can show that a quorum has a newer block. */
const mayRise = (usable: readonly View[], quorum: number, unheard: number): boolean =>
  newestWith(usable, quorum, unheard) > newestWith(usable, quorum, 0);

const fromHighest = (views: readonly View[]): bigint[] =>
  views.map(({ height }) => height).toSorted((a, b) => (a < b ? 1 : a > b ? -1 : 0));

async function repeated<V>(run: () => Promise<V>, tries: number, pause: () => Promise<void>): Promise<V> {
  for (let left = tries - 1; left > 0; left -= 1) {
    try {
      return await run();
    } catch {
      await pause();
    }
  }
  return run();
}

function mostTold<T>(all: readonly Told<T>[]): {
  readonly value: Told<T> | undefined;
  readonly count: number;
  readonly kinds: number;
} {
  const groups = Map.groupBy(all, (told) =>
    JSON.stringify(told, (_, part: unknown) => (typeof part === "bigint" ? `${part}n` : part)),
  );
  const [most = []] = [...groups.values()].toSorted((a, b) => b.length - a.length);
  return { value: most[0], count: most.length, kinds: groups.size };
}

/** Why nothing was decided, once nobody is left to be heard. */
function refusal<T>(at: {
  readonly endpoints: readonly Endpoint[];
  readonly quorum: number;
  readonly views: readonly View[];
  readonly blind: readonly Failure[];
  readonly rounds: readonly Round<T>[];
  readonly usable: readonly View[];
  readonly least: bigint;
}): GovernanceError {
  const { endpoints, quorum, views, blind, rounds, usable, least } = at;
  const tooFew = (bad: readonly Failure[]): GovernanceError => {
    const reasons = bad.map(({ endpoint, error }) => `${endpoint.name} ${reasonOf(error)}`).join("; ");
    const codes = new Set(
      bad.map(({ error }) => (error instanceof GovernanceError ? error.code : "chain-unreachable")),
    );
    const code = codes.size === 1 ? [...codes][0]! : "chain-unreachable";
    return new GovernanceError(
      code,
      `fewer than ${quorum} of ${endpoints.length} endpoints can be relied on: ${reasons}`,
    );
  };
  const chains = new Set(views.map(({ chainId }) => chainId));
  if (usable.length === 0 && chains.size > 1)
    return new GovernanceError(
      "chain-disagrees",
      `the endpoints are on chains ${[...chains].toSorted((a, b) => a - b).join(" and ")}; ${quorum} must be on the same`,
    );
  const apart = rounds.find(({ good }) => good.length >= quorum);
  if (apart !== undefined)
    return new GovernanceError(
      "chain-disagrees",
      `${apart.good.map(({ endpoint }) => endpoint.name).join(", ")} tell ${mostTold(apart.good.map(({ told }) => told)).kinds} different things of block ${apart.height}; ${quorum} must tell the same`,
    );
  const last = rounds.at(-1);
  if (last === undefined && usable.length > 0) {
    const newest = newestWith(usable, quorum, endpoints.length - usable.length);
    return new GovernanceError(
      "chain-stale",
      `fewer than ${quorum} of ${endpoints.length} endpoints show block ${newest}, or one at most ${REACH} below it: ${[
        ...usable.map(({ endpoint, height }) => `${endpoint.name} shows block ${height}`),
        ...blind.map(({ endpoint, error }) => `${endpoint.name} ${reasonOf(error)}`),
      ].join("; ")}`,
    );
  }
  if (last === undefined) return tooFew(blind);
  const shown = usable.map(({ height }) => height).reduce((a, b) => (a > b ? a : b));
  if (last.height === least && shown < least)
    return new GovernanceError(
      "chain-stale",
      `the endpoints now show block ${shown}, block ${least} was read before and they do not have it`,
    );
  return tooFew([...blind, ...last.bad]);
}
