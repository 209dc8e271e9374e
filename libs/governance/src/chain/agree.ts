/**
 * How several endpoints of a chain are heard. In: what each shows of the chain, and what each tells of a block. Out:
 * what a quorum tells alike of one block. As long as a quorum of honest endpoints is left, the others can neither
 * decide nor keep them from deciding, whether they lie, lag, hang, claim blocks that nobody has, or are on another chain.
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
  readonly asked: Set<Endpoint>;
  readonly good: { readonly endpoint: Endpoint; readonly told: Told<T> }[];
  readonly bad: Failure[];
  /** Whether it has had its time, and a lower block is tried beside it. */
  isLate: boolean;
}

/** How long further endpoints are waited for once a quorum shows the chain. */
const GRACE_MS = 250;
/** How long a block is waited for before a lower one is asked about too. */
const ROUND_MS = 500;
/** A server that is several nodes behind one address may have a block that its last answer did not show. */
const AGAIN = { tries: 4, pauseMs: 500 } as const;

/**
 * The newest block that a quorum has and tells alike. Where the quorum's newest fails, since one of those who claim it
 * lies or hangs, the next lower one is read that they and others have.
 * @throws GovernanceError `chain-unreachable`, `chain-wrong`, `chain-stale`, `chain-disagrees`
 */
export async function agree<T>({ endpoints, quorum, floor, deadlineMs, look, tell }: Hearing<T>): Promise<Agreed<T>> {
  const views: View[] = [];
  const blind: Failure[] = [];
  const rounds: Round<T>[] = [];
  const timers = new Set<NodeJS.Timeout>();
  let bell = Promise.withResolvers<void>();
  let isEnded = false;
  const over = { deadline: false, grace: false };
  let isGraceRunning = false;

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
    const tries = height < round.height ? AGAIN.tries : 1;
    heard(
      repeated(() => tell(endpoint, round.height), tries, pause),
      (told) => round.good.push({ endpoint, told }),
      (error) => round.bad.push({ endpoint, error }),
    );
  };

  try {
    after(deadlineMs, () => (over.deadline = true));
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
        for (const view of usable)
          if ((view.height >= round.height || round.height === least) && !round.asked.has(view.endpoint))
            ask(round, view);
        const told = mostTold(round.good.map((answer) => answer.told));
        if (told.count >= quorum) return { ...told.value!, chainId: usable[0]!.chainId, height: round.height };
      }
      const next = heightsOf(usable, quorum, least).find((height) => rounds.every((round) => round.height > height));
      const haveAllLooked = views.length + blind.length === endpoints.length;
      if (next !== undefined && (haveAllLooked || over.grace) && rounds.every(isStuck)) {
        const round: Round<T> = { height: next, asked: new Set(), good: [], bad: [], isLate: false };
        rounds.push(round);
        after(ROUND_MS, () => (round.isLate = true));
        continue;
      }
      if (next === undefined && haveAllLooked && rounds.every(isOver))
        throw refusal({ endpoints, quorum, views, blind, rounds, usable, least });
      if (over.deadline)
        throw new GovernanceError(
          "chain-unreachable",
          `no answer of ${quorum} of ${endpoints.length} endpoints within ${deadlineMs} ms`,
        );
      if (usable.length >= quorum && !isGraceRunning) {
        isGraceRunning = true;
        after(GRACE_MS, () => (over.grace = true));
      }
      await bell.promise;
    }
  } finally {
    isEnded = true;
    for (const timer of timers) clearTimeout(timer);
  }
}

const isOver = ({ asked, good, bad }: Round<unknown>): boolean => good.length + bad.length === asked.size;
const isStuck = (round: Round<unknown>): boolean => round.isLate || isOver(round);

/** The views of the chain that a quorum is on. */
function ofOneChain(views: readonly View[], quorum: number): readonly View[] {
  const [most] = [...Map.groupBy(views, ({ chainId }) => chainId).values()].toSorted((a, b) => b.length - a.length);
  return most !== undefined && most.length >= quorum ? most : [];
}

/** The heights that at least a quorum shows, highest first, none below the least. */
function heightsOf(views: readonly View[], quorum: number, least: bigint): bigint[] {
  const heights = views.map(({ height }) => height).toSorted((a, b) => (a < b ? 1 : a > b ? -1 : 0));
  return [...new Set(heights.slice(quorum - 1).map((height) => (height < least ? least : height)))];
}

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
  if (last === undefined) return tooFew(blind);
  const shown = usable.map(({ height }) => height).reduce((a, b) => (a > b ? a : b));
  if (last.height === least && shown < least)
    return new GovernanceError(
      "chain-stale",
      `the endpoints now show block ${shown}, block ${least} was read before and they do not have it`,
    );
  return tooFew([...blind, ...last.bad]);
}
