import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { hash48 } from "@dstack/bytes";
import type { Hash48 } from "@dstack/bytes";
import { AttestError, eventDigestV1, extendRegister, replayRtmr3 } from "@dstack/attest";
import { PRODUCTION_PATHS, RuntimeEventLog, TeeError, teePaths } from "@dstack/tee";
import type { EventRegister, TeeErrorCode } from "@dstack/tee";

const folder = await mkdtemp(join(tmpdir(), "dstack-event-log-"));
after(() => rm(folder, { recursive: true }));
let count = 0;
const newPath = (): string => join(folder, String(count++), "runtime_events.log");
const none = new Uint8Array(0);

/** A register in memory that can die before or after an extension. */
class FakeRegister implements EventRegister {
  value: Hash48 = hash48(new Uint8Array(48));
  dies: "before" | "after" | undefined;
  read(): Promise<Hash48> {
    return Promise.resolve(this.value);
  }
  extend(digest: Hash48): Promise<void> {
    if (this.dies === "before") return Promise.reject(new Error("killed"));
    this.value = extendRegister(this.value, digest);
    return this.dies === "after" ? Promise.reject(new Error("killed")) : Promise.resolve();
  }
}

const rejects = (promise: Promise<unknown>, code: TeeErrorCode): Promise<void> =>
  assert.rejects(promise, (error: unknown) => error instanceof TeeError && error.code === code);

test("logs what it extends, for its owner alone, in both digest forms", async () => {
  const register = new FakeRegister();
  const path = newPath();
  const log = await RuntimeEventLog.open(path, register);
  await log.emit("a", Uint8Array.of(1));
  await log.emit("b", none, 2);
  assert.equal(
    await readFile(path, "utf8"),
    '{"event":"a","payload":"AQ=="}\n{"event":"b","payload":"","version":2}\n',
  );
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.deepEqual(register.value, replayRtmr3(log.events));
});

// DS #1320, #895: killed between any two steps, the log opens again and tells exactly what was extended.
test("brings log and register together after a kill at each step", async () => {
  for (const dies of ["before", "after"] as const) {
    const register = new FakeRegister();
    const path = newPath();
    const log = await RuntimeEventLog.open(path, register);
    await log.emit("first", none);
    register.dies = dies;
    await assert.rejects(log.emit("second", none), /killed/);
    register.dies = undefined;
    const again = await RuntimeEventLog.open(path, register);
    assert.deepEqual(
      again.events.map(({ event }) => event),
      dies === "before" ? ["first"] : ["first", "second"],
    );
    assert.deepEqual(replayRtmr3(again.events), register.value);
    await again.emit("third", none);
    assert.deepEqual(replayRtmr3((await RuntimeEventLog.open(path, register)).events), register.value);
  }
});

test("completes a line that a crash tore while it was appended", async () => {
  const register = new FakeRegister();
  const path = newPath();
  const log = await RuntimeEventLog.open(path, register);
  await log.emit("first", none);
  register.dies = "after";
  await assert.rejects(log.emit("second", Uint8Array.of(7)), /killed/);
  register.dies = undefined;
  await writeFile(path, '{"event":"sec', { flag: "a" });
  assert.deepEqual(
    (await RuntimeEventLog.open(path, register)).events.map(({ event }) => event),
    ["first", "second"],
  );
});

test("refuses a register that holds more than the log tells", async () => {
  const register = new FakeRegister();
  const path = newPath();
  const log = await RuntimeEventLog.open(path, register);
  await log.emit("mine", none);
  await register.extend(eventDigestV1("foreign", none));
  await rejects(log.emit("next", none), "register-mismatch");
  await rejects(RuntimeEventLog.open(path, register), "log-unrecoverable");
  await writeFile(path, "");
  await rejects(RuntimeEventLog.open(path, register), "log-unrecoverable");
});

test("measures a boot event once and refuses another payload under its name", async () => {
  const register = new FakeRegister();
  const log = await RuntimeEventLog.open(newPath(), register);
  await log.emitOnce("os-image-hash", Uint8Array.of(1));
  const { value } = register;
  await log.emitOnce("os-image-hash", Uint8Array.of(1));
  assert.deepEqual(register.value, value);
  await rejects(log.emitOnce("os-image-hash", Uint8Array.of(2)), "event-conflict");
});

test("extends nothing for a name that is ambiguous", async () => {
  const register = new FakeRegister();
  const log = await RuntimeEventLog.open(newPath(), register);
  await assert.rejects(log.emit("a:b", none), AttestError);
  assert.deepEqual(register.value, hash48(new Uint8Array(48)));
});

// DS #562: the environment moves no path of a production image.
test("lets only a development image move the paths, and only to absolute ones", () => {
  const env = { DCAP_TDX_QUOTE_CONFIGFS_PATH: "/tmp/report", DSTACK_CCEL_FILE: "" };
  assert.deepEqual(teePaths(env, false), PRODUCTION_PATHS);
  assert.deepEqual(teePaths(env, true), { ...PRODUCTION_PATHS, report: "/tmp/report" });
  assert.throws(
    () => teePaths({ DSTACK_CCEL_FILE: "ccel" }, true),
    (error: unknown) => error instanceof TeeError && error.code === "path-invalid",
  );
});
