/**
 * The walk over one daemon: every route, cut at every stage; every upstream, failing in every way;
 * as many unfinished requests as it takes connections. After each the daemon lives, answers the next
 * honest request, and in the end it holds what it held before and stops as it is told.
 */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import type { Daemon, DeepRequest, Listener } from "./daemon.ts";
import { messageFor, withBody } from "./messages.ts";
import { MOODS, type Mood, type NastyUpstream } from "./nasty-upstream.ts";
import { leftOver, mib } from "./vital-signs.ts";
import { ask, cut, open, sleep, STAGES, type Message, type Place, type Stage } from "./wire-client.ts";

/** How many requests for each stage of each route. */
export interface Times {
  readonly stranger: number;
  readonly token: number;
  /** How long it may take to give up what it held for them. */
  readonly settleMs: number;
}

/** In `npm test`. */
export const USUAL: Times = { stranger: 50, token: 5, settleMs: 20_000 };
/** To see everything once before anything is measured. */
const WARM_UP: Times = { stranger: 6, token: 3, settleMs: 0 };
const AT_ONCE = 16;
/** Those who wait for nobody cost nothing. */
const WAITING_AT_ONCE = 50;
const PROBE_MS = 5_000;

/** What listeners say for which they have no route. */
const NOT_FOUND = /^HTTP\/1\.1 4[^]*(?:\r\nNot found\n|Service not found)/;

export interface Report {
  readonly requests: number;
  readonly text: string;
}

/** @throws AssertionError naming the listener, the stage and the route after which something was wrong */
export async function walk(daemon: Daemon, times: Times): Promise<Report> {
  const begun = performance.now();
  await reachEveryRoute(daemon);
  await round(daemon, WARM_UP);
  await everybody(daemon, "honest");
  const before = await settled(daemon);
  let requests = await round(daemon, times);
  for (const listener of daemon.listeners) requests += await holdConnections(daemon, listener);
  await everybody(daemon, "honest");
  for (const request of daemon.deep) if (request.honest !== undefined) await honestly(request);
  assert.deepEqual(daemon.process.stray, [], `${daemon.name} said that nobody handled something`);
  const problem = await leftOver(daemon.process.patient, before, requests, times.settleMs);
  assert.equal(problem, undefined, `${daemon.name} keeps ${problem}`);
  const after = await daemon.process.patient.measure();
  for (const listener of daemon.listeners) await finish(daemon, listener);
  assert.equal(await daemon.process.stop(), daemon.exitCode ?? 0, daemon.process.ended() ?? daemon.name);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  return {
    requests,
    text:
      `${daemon.name}: ${requests} requests in ${seconds} s; heap ${mib(before.heapBytes)} to ${mib(after.heapBytes)}, ` +
      `resident ${mib(before.rssBytes)} to ${mib(after.rssBytes)}, descriptors ${before.descriptors} to ${after.descriptors}`,
  };
}

const settled = async ({ process }: Daemon): ReturnType<Daemon["process"]["patient"]["measure"]> => {
  await sleep(300);
  return process.patient.measure();
};

/** A route that no request of the walk reaches would be walked past. */
async function reachEveryRoute(daemon: Daemon): Promise<void> {
  for (const listener of daemon.listeners) {
    assert.ok(listener.routes.length > 0, `${listener.name} of ${daemon.name} has no routes`);
    const nowhere = await ask(listener.place, message404(listener));
    assert.match(nowhere.text, NOT_FOUND, `${listener.name} of ${daemon.name} answers what it has no route for`);
    for (const { route, whole } of requestsOf(listener)) {
      const { status, text } = await ask(listener.place, whole);
      assert.ok(
        ![0, 401, 403, 405].includes(status) && !NOT_FOUND.test(text),
        `${listener.name} of ${daemon.name}: ${route} was not reached: ${text.slice(0, 500)}`,
      );
    }
    await probe(daemon, listener, "at first");
  }
  for (const request of daemon.deep) if (request.honest !== undefined) await honestly(request);
}

async function honestly({ name, place, make, honest }: DeepRequest): Promise<void> {
  const { text } = await ask(place, make());
  assert.match(text, honest ?? /^/, `${name}, with honest upstreams`);
}

/** Every stage on every route, then every failure of every upstream. @returns how many requests */
async function round(daemon: Daemon, times: Times): Promise<number> {
  let requests = 0;
  for (const stage of STAGES) {
    const jobs = daemon.listeners.flatMap((listener) => {
      const count = times[listener.reach];
      return requestsOf(listener, stage).flatMap(({ whole }) =>
        Array.from({ length: count }, (_, turn) => () => cut(listener.place, withBody(whole), stage, turn)),
      );
    });
    requests += await all(jobs);
    for (const listener of daemon.listeners) await probe(daemon, listener, stage);
  }
  for (const request of daemon.deep) requests += await failUpstreams(daemon, request, times);
  return requests;
}

async function failUpstreams(daemon: Daemon, request: DeepRequest, times: Times): Promise<number> {
  let requests = 0;
  for (const upstream of request.upstreams) {
    for (const mood of MOODS) {
      await everybody(daemon, "honest");
      await upstream.become(mood);
      if (mood !== "refuses" && request.remembers === undefined) await reach(request, upstream);
      const count = mood === "huge" ? Math.ceil(times[request.reach] / 5) : times[request.reach];
      requests += await all(
        Array.from({ length: count }, (_, turn) => () => leave(request.place, request.make(), turn)),
        WAITING_AT_ONCE,
      );
      for (const listener of daemon.listeners) await probe(daemon, listener, `${request.name}, its upstream "${mood}"`);
    }
  }
  return requests;
}

/** A request that comes to nobody tests nothing of what it is for. */
async function reach({ name, place, make }: DeepRequest, upstream: NastyUpstream): Promise<void> {
  const before = upstream.reached;
  const asked = ask(place, make(), PROBE_MS);
  for (let waited = 0; upstream.reached === before && waited < PROBE_MS; waited += 10) await sleep(10);
  assert.ok(upstream.reached > before, `${name} asked nobody while its upstream is "${upstream.mood}"`);
  upstream.endAll();
  await asked;
}

/** Asks, and goes away: at once, a moment later, or when the answer has come or has not. */
async function leave(place: Place, whole: Message, turn: number): Promise<void> {
  if (turn % 5 === 0) return void (await ask(place, whole, 300));
  return cut(place, whole, turn % 5 === 4 ? "in the answer" : "after the body", turn);
}

/** As many connections as the listener serves, and some: idle, in their heads, in their bodies. */
async function holdConnections(daemon: Daemon, listener: Listener): Promise<number> {
  const { place, name, maxConnections } = listener;
  const [first] = requestsOf(listener, "in the body");
  const begun = first === undefined ? message404(listener) : withBody(first.whole);
  const parts = [Buffer.alloc(0), begun.head.subarray(0, -2), Buffer.concat([begun.head, begun.body.subarray(0, -1)])];
  const held: Socket[] = [];
  const count = maxConnections + 10;
  await all(
    Array.from({ length: count }, (_, turn) => async () => {
      const opened = await open(place);
      if (opened === undefined) return;
      held.push(opened.raw);
      opened.socket.write(parts[turn % parts.length]!);
    }),
  );
  await probe(daemon, listener, `${count} unfinished requests at ${name}`);
  for (const socket of held) socket.destroy();
  return count;
}

async function probe(daemon: Daemon, listener: Listener, when: string): Promise<void> {
  const { status, text } = await ask(listener.place, listener.probe, PROBE_MS);
  // Its end may be heard of a moment after its connections'.
  if (status !== 200) await sleep(500);
  assert.equal(daemon.process.ended(), undefined, `${daemon.name} ended (${when})`);
  assert.equal(status, 200, `${listener.name} of ${daemon.name} does not answer (${when}): ${text.slice(0, 500)}`);
}

async function everybody({ upstreams }: Daemon, mood: Mood): Promise<void> {
  for (const upstream of upstreams) if (upstream.mood !== mood) await upstream.become(mood);
}

interface RouteRequest {
  readonly route: string;
  readonly whole: Message;
}

/** One request for each route; for a stage that lets a request arrive, none to the routes that end the daemon. */
function requestsOf({ routes, seeds = {}, headers = {}, ends = [] }: Listener, stage?: Stage): RouteRequest[] {
  return routes
    .filter(({ path }) => stage === "in the head" || !ends.includes(path))
    .map((route) => ({
      route: `${route.verb} ${route.path}`,
      whole: seeds[route.path]?.() ?? messageFor(route, headers),
    }));
}

const message404 = ({ headers }: Listener): Message =>
  messageFor({ verb: "GET", path: "/no-such-route-of-anybody" }, headers);

/** The routes that end it, at the very end: they do. */
async function finish(daemon: Daemon, { place, routes, ends = [], headers }: Listener): Promise<void> {
  for (const route of routes.filter(({ path }) => ends.includes(path))) {
    if (daemon.process.ended() !== undefined) return;
    const { status } = await ask(place, messageFor(route, headers));
    assert.equal(status, 200, `${route.verb} ${route.path}`);
    await sleep(300);
  }
}

async function all(jobs: readonly (() => Promise<void>)[], atOnce = AT_ONCE): Promise<number> {
  let next = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let job = jobs[next++]; job !== undefined; job = jobs[next++]) await job();
    }),
  );
  return jobs.length;
}
