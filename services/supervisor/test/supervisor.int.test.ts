import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, statSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const MAIN = join(import.meta.dirname, "../src/main.ts");
const started: ChildProcess[] = [];
after(() => started.forEach((child) => child.kill("SIGKILL")));

interface Answer {
  status: number;
  body: { data?: unknown; error?: string };
}

function call(socketPath: string, verb: string, path: string, body?: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? "" : typeof body === "string" ? body : JSON.stringify(body);
    const outgoing = request(
      {
        socketPath,
        method: verb,
        path,
        agent: false,
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text) },
      },
      (response) => {
        let answer = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (answer += chunk));
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, body: JSON.parse(answer) as Answer["body"] }),
        );
      },
    );
    outgoing.once("error", reject);
    outgoing.end(text);
  });
}

async function supervise(dir: string): Promise<{ child: ChildProcess; socket: string }> {
  const socket = join(dir, "run/supervisor.sock");
  const child = spawn(
    process.execPath,
    [MAIN, "--uds", socket, "--pid-file", join(dir, "supervisor.pid"), "--log-file", join(dir, "supervisor.log")],
    { stdio: "inherit" },
  );
  started.push(child);
  for (let i = 0; i < 200; i++) {
    const pong = await call(socket, "GET", "/ping").catch(() => undefined);
    if (pong !== undefined) return { child, socket };
    await sleep(50);
  }
  throw new Error("the supervisor did not come up");
}

const scratch = (): string => mkdtempSync(join(tmpdir(), "dstack-supervisor-"));
const end = (child: ChildProcess, signal: NodeJS.Signals): Promise<void> =>
  new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.kill(signal);
  });
const dead = (pid: number): boolean =>
  !existsSync(`/proc/${pid}`) || readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");

interface Info {
  config: Record<string, unknown>;
  state: {
    status: unknown;
    started: boolean;
    pid: number | null;
    started_at: number | null;
    stopped_at: number | null;
  };
}
const info = async (socket: string, id: string): Promise<Info> =>
  (await call(socket, "GET", `/info/${id}`)).body.data as Info;

vectorTest("answers every exchange of the vectors", "vmm/supervisor_http.json", async ({ json }) => {
  const { child, socket } = await supervise(scratch());
  const { exchanges } = json<{ exchanges: [string, unknown, unknown][] }>("vmm/supervisor_http.json");
  for (const [line, body, expected] of exchanges) {
    const [verb = "", path = ""] = line.split(" ");
    const answer = await call(socket, verb, path, body ?? undefined);
    assert.equal(answer.status, 200);
    const text = JSON.stringify(answer.body)
      .replace(/"pid":\d+/, '"pid":"<int>"')
      .replace(/"started_at":\d+/, '"started_at":"<int seconds>"');
    assert.deepEqual(JSON.parse(text), expected, line);
  }
  await end(child, "SIGTERM");
});

test("runs with environment, folder, output files and pidfile, and tells how it ended", async () => {
  const dir = scratch();
  const { child, socket } = await supervise(dir);
  const config = {
    id: "a",
    command: "sh",
    args: ["-c", "echo $FOO $PWD; echo bad >&2; exit 1"],
    env: { FOO: "bar" },
    cwd: dir,
    stdout: join(dir, "out"),
    stderr: join(dir, "err"),
    pidfile: join(dir, "pid"),
  };
  assert.deepEqual((await call(socket, "POST", "/deploy", config)).body, { data: null });
  for (let i = 0; i < 100 && (await info(socket, "a")).state.status === "running"; i++) await sleep(20);
  const { state } = await info(socket, "a");
  assert.deepEqual([state.status, state.started], [{ exited: 256 }, true]);
  assert.equal(readFileSync(join(dir, "out"), "utf8"), `bar ${dir}\n`);
  assert.equal(readFileSync(join(dir, "err"), "utf8"), "bad\n");
  assert.equal(readFileSync(join(dir, "pid"), "utf8"), String(state.pid));
  await call(socket, "POST", "/start/a");
  for (let i = 0; i < 100 && readFileSync(join(dir, "out"), "utf8").split("\n").length < 3; i++) await sleep(20);
  assert.equal(readFileSync(join(dir, "out"), "utf8"), `bar ${dir}\nbar ${dir}\n`);
  assert.deepEqual(
    (await call(socket, "POST", "/deploy", { id: "b", command: "/no/such/program" })).body.data,
    undefined,
  );
  assert.equal((await call(socket, "GET", "/info/b")).body.data, null);
  await end(child, "SIGTERM");
});

test("killed with SIGKILL, its processes run on and the next supervisor finds them again", async () => {
  const dir = scratch();
  const first = await supervise(dir);
  const config = {
    id: "vm",
    command: "sh",
    args: ["-c", "while sleep 0.1; do echo tick; done"],
    stdout: join(dir, "out"),
    cid: 1000,
    note: '{"kind":"cvm"}',
  };
  await call(first.socket, "POST", "/deploy", config);
  await call(first.socket, "POST", "/deploy", { id: "gone", command: "sleep", args: ["1000"] });
  const { pid } = (await info(first.socket, "vm")).state;
  const { pid: other } = (await info(first.socket, "gone")).state;
  await end(first.child, "SIGKILL");
  process.kill(other!, "SIGKILL");
  await sleep(100);
  assert.equal(dead(pid!), false);

  const second = await supervise(dir);
  const found = await info(second.socket, "vm");
  assert.deepEqual(
    [found.state.status, found.state.started, found.state.pid, found.config["cid"]],
    ["running", true, pid, 1000],
  );
  const lost = await info(second.socket, "gone");
  assert.deepEqual([lost.state.status, lost.state.started], [{ error: "ended while no supervisor ran" }, true]);
  const size = statSync(join(dir, "out")).size;
  await sleep(400);
  assert.ok(statSync(join(dir, "out")).size > size, "output goes on");
  assert.deepEqual((await call(second.socket, "POST", "/deploy", config)).body, {
    error: "Process is already running",
  });
  assert.deepEqual((await call(second.socket, "POST", "/stop/vm")).body, { data: null });
  assert.equal(dead(pid!), true);
  assert.equal((await info(second.socket, "vm")).state.status, "stopped");
  await end(second.child, "SIGTERM");
});

test("a second supervisor on the same socket is refused and the first goes on", async () => {
  const dir = scratch();
  const { child, socket } = await supervise(dir);
  const second = spawn(process.execPath, [MAIN, "--uds", socket], { stdio: ["ignore", "ignore", "pipe"] });
  let text = "";
  second.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const code = await new Promise((resolve) => second.once("close", resolve));
  assert.equal(code, 1);
  assert.match(text, /another supervisor serves this socket already/);
  assert.deepEqual((await call(socket, "GET", "/ping")).body, { data: "pong" });
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  await end(child, "SIGTERM");
});

test("a TCP address is refused: whoever can call us can run programs", async () => {
  const child = spawn(process.execPath, [MAIN, "-a", "127.0.0.1", "-p", "8000"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let text = "";
  child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
  assert.equal(await new Promise((resolve) => child.once("close", resolve)), 1);
  assert.match(text, /only a Unix socket is served/);
});

test("a body that is no process configuration is refused by field", async () => {
  const { child, socket } = await supervise(scratch());
  for (const body of [
    "",
    "{",
    "[]",
    { id: "x" },
    { id: "x", command: "true", args: "no list" },
    { id: "x", command: "true", cid: -1 },
  ]) {
    const answer = await call(socket, "POST", "/deploy", body);
    assert.equal(answer.status, 422);
    assert.match(answer.body.error ?? "", /not a process configuration/);
  }
  assert.deepEqual((await call(socket, "GET", "/list")).body, { data: [] });
  await end(child, "SIGTERM");
});

test("SIGTERM stops all processes and leaves no socket, pidfile or lock", async () => {
  const dir = scratch();
  const { child, socket } = await supervise(dir);
  await call(socket, "POST", "/deploy", { id: "a", command: "sleep", args: ["1000"] });
  const { pid } = (await info(socket, "a")).state;
  await end(child, "SIGTERM");
  assert.equal(child.exitCode, 0);
  assert.equal(dead(pid!), true);
  for (const path of [socket, `${socket}.lock`, join(dir, "supervisor.pid")]) assert.equal(existsSync(path), false);
});
