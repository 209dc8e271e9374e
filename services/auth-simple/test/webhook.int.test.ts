import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

interface Case {
  readonly id: string;
  readonly path: string;
  readonly config: unknown;
  readonly body: unknown;
  readonly expect: {
    readonly status?: number;
    readonly json?: Record<string, unknown>;
    readonly reason_contains?: string;
  };
}

const MAIN = join(import.meta.dirname, "../src/main.ts");
const BASE = {
  mrAggregated: "11".repeat(32),
  osImageHash: "22".repeat(32),
  appId: "33".repeat(20),
  composeHash: "44".repeat(32),
  instanceId: "55".repeat(20),
  deviceId: "66".repeat(32),
  tcbStatus: "UpToDate",
};
const GOOD = {
  gatewayAppId: "gw",
  osImages: [BASE.osImageHash],
  apps: { [BASE.appId]: { composeHashes: [BASE.composeHash], allowAnyDevice: true } },
};
let folder: string;
let config: string;
let base: string;
let child: ChildProcess;
let output = "";

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "auth-simple-"));
  config = join(folder, "auth-config.json");
  child = spawn(process.execPath, [MAIN], {
    env: { PATH: process.env["PATH"], PORT: "0", HOST: "127.0.0.1", AUTH_CONFIG_PATH: config },
    stdio: ["ignore", "ignore", "pipe"],
  });
  base = await new Promise<string>((resolve, reject) => {
    child.stderr!.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      const found = /"address":"([^"]+)"/.exec(output);
      if (found !== null) resolve(`http://${found[1]}`);
    });
    child.once("exit", () => reject(new Error(output)));
  });
});

after(async () => {
  child.kill("SIGTERM");
  if (child.exitCode === null) await once(child, "exit");
  assert.equal(child.exitCode, 0);
  await rm(folder, { recursive: true });
});

/** Replaces the file whole, so that a request sees the old one or the new one. */
async function write(value: unknown): Promise<void> {
  await writeFile(`${config}.new`, typeof value === "string" ? value : JSON.stringify(value));
  await rename(`${config}.new`, config);
}

async function post(kind: "app" | "kms", body: unknown): Promise<{ status: number; json: Record<string, unknown> }> {
  const answer = await fetch(`${base}/bootAuth/${kind}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return { status: answer.status, json: (await answer.json()) as Record<string, unknown> };
}

vectorTest("answers the cases of the vectors", "kms/auth-simple-cases.json", async ({ json }) => {
  const { cases } = json<{ cases: readonly Case[] }>("kms/auth-simple-cases.json");
  for (const { id, path, config: wanted, body, expect } of cases) {
    // This case is the reading of 0.5.6 to 0.5.8; from 0.5.9 on, and here, an empty list admits nobody.
    if (id === "S08-056") continue;
    await rm(config, { force: true });
    if (typeof wanted === "object") await write(wanted);
    const answer =
      path === "GET /"
        ? await fetch(`${base}/`).then(async (response) => ({
            status: response.status,
            json: (await response.json()) as Record<string, unknown>,
          }))
        : await post(path.endsWith("kms") ? "kms" : "app", body);
    assert.equal(answer.status, expect.status ?? 200, id);
    for (const [key, value] of Object.entries(expect.json ?? {}))
      assert.deepEqual(answer.json[key], value, `${id} ${key}`);
    if (expect.reason_contains !== undefined)
      assert.match(String(answer.json["reason"]), new RegExp(expect.reason_contains), id);
  }
});

test("follows the file between two requests, keeps the good one when it breaks, denies when it goes (S18, S20)", async () => {
  await write(GOOD);
  assert.deepEqual((await post("app", BASE)).json, { isAllowed: true, reason: "", gatewayAppId: "gw" });
  await write({ ...GOOD, apps: {} });
  assert.equal((await post("app", BASE)).json["reason"], "app not registered");
  await write(GOOD);
  assert.equal((await post("app", BASE)).json["isAllowed"], true);
  await write(`${JSON.stringify(GOOD).slice(0, -3)}`);
  assert.equal((await post("app", BASE)).json["isAllowed"], true);
  assert.match(
    String(((await (await fetch(base)).json()) as Record<string, unknown>)["configError"]),
    /not valid JSON/,
  );
  // What was taken back with this change is still allowed, so it is said wherever somebody looks.
  const notReady = await fetch(`${base}/readyz`);
  assert.equal(notReady.status, 503);
  assert.match(((await notReady.json()) as { reason: string }).reason, /not valid JSON/);
  assert.match(output, /decided by the policy before, since the file cannot be used: .*not valid JSON/);
  await write(GOOD);
  assert.equal((await fetch(`${base}/readyz`)).status, 200);
  await rm(config);
  assert.equal((await fetch(`${base}/readyz`)).status, 503);
  assert.deepEqual((await post("app", BASE)).json, {
    isAllowed: false,
    reason: "OS image is not allowed",
    gatewayAppId: "",
    rule: "osImages",
    field: "osImageHash",
  });
  await write(GOOD);
  assert.equal((await post("app", BASE)).json["isAllowed"], true);
});

test("a file that is replaced or written over while it is read gives the old decision or the new one, never another", async () => {
  await write(GOOD);
  assert.equal((await post("app", BASE)).json["isAllowed"], true);
  const padding = "x".repeat(200_000);
  const other = { ...GOOD, note: padding, apps: {} };
  const written = new AbortController();
  const writer = (async () => {
    for (let i = 0; i < 30; i++) {
      if (i % 2 === 0) await write(i % 4 === 0 ? other : { ...GOOD, note: padding });
      // In place, as an editor may: a reader can see the half of it.
      else await writeFile(config, JSON.stringify(i % 4 === 1 ? other : { ...GOOD, note: padding }));
    }
    written.abort();
  })();
  const seen = new Set<string>();
  while (!written.signal.aborted) {
    const { status, json } = await post("app", BASE);
    seen.add(`${status} ${String(json["isAllowed"])} ${String(json["reason"])} ${String(json["gatewayAppId"])}`);
  }
  await writer;
  assert.deepEqual(
    [...seen].filter((answer) => answer !== "200 true  gw" && answer !== "200 false app not registered gw"),
    [],
  );
  await write(GOOD);
  assert.equal((await post("app", BASE)).json["isAllowed"], true);
});

test("logs each denial with rule, field and value", async () => {
  await write({ ...GOOD, apps: {} });
  output = "";
  await post("app", { ...BASE, appId: "77".repeat(20) });
  assert.match(output, /app boot auth request:/);
  assert.match(output, new RegExp(`"rule":"apps","field":"appId","value":"${"77".repeat(20)}"`));
  assert.match(output, new RegExp(BASE.deviceId));
});

test("malformed requests are 400 and leave the process running (S19)", async () => {
  for (const body of ["", "null", "{", '{"mrAggregated":"0x"}', JSON.stringify({ ...BASE, appId: 1 })]) {
    const { status, json } = await post("app", body);
    assert.equal(status, 400);
    assert.match(String(json["request_id"]), /^[0-9a-f-]{36}$/);
  }
  const long = await fetch(`${base}/bootAuth/app`, { method: "POST", body: "x".repeat(5 * 1024 * 1024) });
  assert.equal(long.status, 413);
  assert.equal((await fetch(`${base}/healthz`)).status, 200);
  assert.equal((await fetch(`${base}/bootAuth/app`)).status, 404);
});

test("with 100,000 entries it reads the file once, and decides by each of them", async () => {
  const apps = Object.fromEntries(
    Array.from({ length: 100_000 }, (_, i) => [
      i.toString(16).padStart(40, "0"),
      { composeHashes: [BASE.composeHash], allowAnyDevice: true },
    ]),
  );
  await write({ ...GOOD, apps: { ...apps, ...GOOD.apps } });
  assert.equal((await post("app", BASE)).json["isAllowed"], true);
  for (const i of [0, 1, 50_000, 99_999])
    assert.equal(
      (await post("app", { ...BASE, appId: i.toString(16).padStart(40, "0") })).json["isAllowed"],
      true,
      `entry ${i}`,
    );
  assert.equal(
    (await post("app", { ...BASE, appId: (100_000).toString(16).padStart(40, "0") })).json["reason"],
    "app not registered",
  );
  // How long an answer takes: npm run bench -- auth.
  assert.equal(output.match(/"apps":100001,/g)?.length, 1);
});

test("a bad environment ends the start with one clear line", async () => {
  for (const env of [{ PORT: "70000" }, { PORT: "x" }, { AUTH_STRICT_HEX: "yes" }]) {
    const bad = spawn(process.execPath, [MAIN], {
      env: { PATH: process.env["PATH"], AUTH_CONFIG_PATH: config, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let text = "";
    bad.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const [exitCode] = (await once(bad, "exit")) as [number];
    assert.equal(exitCode, 1);
    assert.match(text, /expected/);
    assert.equal(text.trim().split("\n").length, 1);
  }
});
