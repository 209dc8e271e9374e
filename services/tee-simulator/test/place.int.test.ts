import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { inNamespace, skip } from "./namespace.ts";

/** Runs a module body with `place` and `fs` at hand in a mount namespace; gives what it printed. */
async function output(body: string): Promise<string> {
  const module = resolve(import.meta.dirname, "../src/place.ts");
  const child = inNamespace([
    "--input-type=module",
    "-e",
    `import * as fs from "node:fs"; import { place } from ${JSON.stringify(module)};\n${body}`,
  ]);
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (piece: string) => {
      text += piece;
    });
  await once(child, "close");
  return text.trim();
}

test("shows a folder below /sys and keeps its neighbours reachable", { skip }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "dstack-place-"));
  try {
    const text = await output(`
      fs.mkdirSync(${JSON.stringify(join(folder, "source"))});
      fs.writeFileSync(${JSON.stringify(join(folder, "source/rtmr"))}, "here");
      const before = fs.readdirSync("/sys/devices/virtual/misc");
      await place({ source: ${JSON.stringify(join(folder, "source"))}, target: "/sys/devices/virtual/misc/tdx_guest/measurements", cover: "/sys/devices/virtual/misc" }, ${JSON.stringify(join(folder, "scratch"))});
      const now = fs.readdirSync("/sys/devices/virtual/misc");
      console.log(fs.readFileSync("/sys/devices/virtual/misc/tdx_guest/measurements/rtmr", "utf8"), before.every((name) => now.includes(name)), fs.readFileSync("/sys/devices/virtual/misc/fuse/dev", "utf8").trim());`);
    assert.equal(text, "here true 10:229");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("shows a folder over one that is there already", { skip }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "dstack-place-"));
  try {
    const text = await output(`
      fs.mkdirSync(${JSON.stringify(join(folder, "source"))});
      fs.writeFileSync(${JSON.stringify(join(folder, "source/CCEL"))}, "log");
      await place({ source: ${JSON.stringify(join(folder, "source"))}, target: "/sys/firmware", cover: "/sys/firmware" }, ${JSON.stringify(join(folder, "scratch"))});
      console.log(fs.readdirSync("/sys/firmware").join());`);
    assert.equal(text, "CCEL");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("covers nothing above the folder it was told", { skip }, async () => {
  const text = await output(`
    await place({ source: "/tmp", target: "/sys/kernel/nowhere/tsm/report", cover: "/sys/kernel/nowhere" }, "/tmp/unused").catch((error) => console.log(error.code, error.message));`);
  assert.match(text, /^mount-failed \/sys\/kernel\/nowhere does not exist/);
});
