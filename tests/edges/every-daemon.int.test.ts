/** What every listener does at the edges of HTTP, by one table over all routes that the daemons tell. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_BACKUP_BYTES, MAX_SHARE_BYTES } from "@dstack/key-backup";
import type { Daemon, Listener } from "../chaos/daemon.ts";
import { EVERY_DAEMON } from "../chaos/every-daemon.ts";
import { descriptorOf } from "../chaos/messages.ts";
import { ask, message, type Message } from "../chaos/wire-client.ts";
import { longTexts } from "./long-texts.ts";

/** Answers and log lines repeat 256 characters of a stranger, beside words of our own. */
const MAX_ANSWER = 1_200;
const MIB = 1024 * 1024;
/** How much of a body plain routes read. */
const PLAIN_LIMITS: Readonly<Record<string, number>> = {
  "/bootAuth/app": 4 * MIB,
  "/bootAuth/kms": 4 * MIB,
  "/verify": 4 * MIB,
  "/boot-advice": 10 * MIB,
  "/restore": MAX_BACKUP_BYTES,
  "/restore/share": MAX_SHARE_BYTES,
};

for (const [name, { start }] of Object.entries(EVERY_DAEMON)) {
  // Its own user's programs alone reach the supervisor, and it answers as the released one.
  if (name === "the supervisor") continue;
  test(`${name} answers at the edges of HTTP as every other, and repeats little of what is sent`, async () => {
    const daemon = await start();
    try {
      for (const listener of daemon.listeners) {
        if (listener.name === "the proxy") await looksAtHeads(listener);
        else await walkOver(daemon, listener, name === "the agent");
      }
      assert.deepEqual(
        daemon.process.longLines.map((line) => `${line.length}: ${line.slice(0, 300)}`),
        [],
        "lines of the log that grow with what is sent",
      );
      assert.equal(daemon.process.ended(), undefined);
    } finally {
      await daemon.process.stop(1_000);
      await daemon.close();
    }
  });
}

interface Edge {
  readonly status: number;
  readonly body: string;
  readonly requestId: string | undefined;
}

async function send({ place }: Listener, request: Message): Promise<Edge> {
  const { status, text } = await ask(place, request);
  const end = text.indexOf("\r\n\r\n");
  return {
    status,
    body: text.slice(end + 4),
    requestId: /^x-request-id: (\S+)/im.exec(text.slice(0, end))?.[1],
  };
}

async function looksAtHeads(listener: Listener): Promise<void> {
  const { routes, headers = {} } = listener;
  for (const { verb, path } of routes.filter(
    ({ verb, path }) => (verb === "GET" && !path.endsWith("/")) || path === "/",
  )) {
    const got = await send(listener, message(verb, path, "", headers));
    const head = await send(listener, message("HEAD", path, "", headers));
    assert.deepEqual([head.status, head.body], [got.status, ""], `HEAD ${path}`);
  }
}

async function walkOver({ process }: Daemon, listener: Listener, isBare: boolean): Promise<void> {
  const { routes, headers = {}, probe } = listener;
  const json = { ...headers, "content-type": "application/json" };
  const refused = async (request: Message, status: number, what: string, words = /(?:)/): Promise<void> => {
    const answer = await send(listener, request);
    assert.deepEqual([answer.status, words.test(answer.body)], [status, true], `${what}: ${answer.body.slice(0, 300)}`);
    assert.ok(answer.requestId !== undefined, what);
    // Clients of the agent have the form of its errors frozen.
    if (/"(?:error|message)":/.test(answer.body) && !isBare)
      assert.equal(/"request_id": ?"([^"]+)"/.exec(answer.body)?.[1], answer.requestId, `${what}: ${answer.body}`);
  };
  await looksAtHeads(listener);
  const target = probe.head.toString().split(" ")[1] ?? "";
  const probed = (path: string): Message => ({
    ...probe,
    head: Buffer.from(probe.head.toString().replace(` ${target} `, ` ${path} `)),
  });
  for (const path of [`http://elsewhere.example${target}`, `/${target}`])
    assert.equal((await send(listener, probed(path))).status, 200, path);
  for (const path of ["nonsense", "ftp://elsewhere.example/"])
    assert.equal((await send(listener, probed(path))).status, 400, path);
  assert.equal(
    (await send(listener, message("GET", "/", "", { x: "y".repeat(65 * 1024) }))).status,
    431,
    "a long head",
  );
  await refused(message("GET", `${target}?a=%e9`, "", headers), 400, "an escape that is no text");

  const rpcs = routes.filter(({ input }) => input !== undefined);
  const reading = rpcs.filter(({ input }) => descriptorOf(input ?? "").fields.length > 0);
  for (const { path, bodyLimitBytes = 0 } of [...reading.slice(0, 1), ...rpcs.slice(-1)])
    await refused(
      message("POST", `${path}?json`, " ".repeat(bodyLimitBytes + 1), json),
      400,
      `a large body for ${path}`,
      /failed to read data: payload too large/,
    );
  for (const { path } of routes.filter(({ path }) => path in PLAIN_LIMITS))
    await refused(
      message("POST", path, " ".repeat((PLAIN_LIMITS[path] ?? 0) + 1), json),
      413,
      `a large body for ${path}`,
    );

  for (const { path, input } of routes) {
    if (!(path in PLAIN_LIMITS) && !reading.some((route) => route.path === path)) continue;
    const [field] = input === undefined ? [] : descriptorOf(input).fields;
    const at = input === undefined ? path : `${path}?json`;
    for (const body of ['{"a":1,"\\u0061":2}', '{"a":"\\ud800"}', '{"\\ud800":1,"\\ud801":2}'])
      await refused(message("POST", at, body, json), 400, `${body} for ${path}`);
    if (field !== undefined && field.fieldKind !== "list")
      await refused(message("GET", `${path}?${field.name}=1&${field.name}=2`, "", headers), 400, `${field.name} twice`);
  }
  for (const route of routes) {
    if (listener.ends?.includes(route.path) || route.path.endsWith("/")) continue;
    for (const { place, request } of longTexts(route, headers)) {
      const seen = process.longLines.length;
      const answer = await send(listener, request);
      assert.ok(answer.status > 0, place);
      if (answer.status >= 400) assert.ok(answer.body.length < MAX_ANSWER, `${place}: ${answer.body.slice(0, 300)}`);
      assert.equal(process.longLines.length, seen, `${place}: ${process.longLines.at(-1)?.slice(0, 300)}`);
    }
  }
}
