import assert from "node:assert/strict";
import { test } from "node:test";
import { readEnvironment } from "../src/apps/plan/environment.ts";
import { parseAmount, parsePort } from "../src/terminal/ports.ts";
import { CliError } from "../src/terminal/errors.ts";

test("takes port mappings with and without protocol and address", () => {
  assert.deepEqual(parsePort("8080:80"), { protocol: "tcp", hostAddress: "", hostPort: 8080, vmPort: 80 });
  assert.deepEqual(parsePort("udp:127.0.0.1:53:5353"), {
    protocol: "udp",
    hostAddress: "127.0.0.1",
    hostPort: 53,
    vmPort: 5353,
  });
  assert.deepEqual(parsePort("tcp:[::1]:1:2"), { protocol: "tcp", hostAddress: "::1", hostPort: 1, vmPort: 2 });
  for (const text of ["80", "0:80", "80:65536", "host:80:80", "a:b", ""])
    assert.throws(() => parsePort(text), CliError);
});

test("takes amounts that come out whole in their unit", () => {
  assert.deepEqual(
    [
      parseAmount("2G", "M", "memory"),
      parseAmount("2048", "M", "memory"),
      parseAmount("1.5GB", "M", "memory"),
      parseAmount("10", "G", "disk"),
      parseAmount("1T", "G", "disk"),
    ],
    [2048, 2048, 1536, 10, 1024],
  );
  for (const text of ["", "0", "-1", "x", "100M"]) assert.throws(() => parseAmount(text, "G", "disk"), CliError);
});

test("environment arguments need a name, and a refusal never shows the value", async () => {
  assert.deepEqual(await readEnvironment(["A=1", "B=x=y", "A=2"], undefined), [
    { key: "A", value: "2" },
    { key: "B", value: "x=y" },
  ]);
  await assert.rejects(
    readEnvironment(["1A=canary"], undefined),
    (error: unknown) => error instanceof CliError && !error.message.includes("canary"),
  );
  await assert.rejects(
    readEnvironment(["canary"], undefined),
    (error: unknown) => error instanceof CliError && !error.message.includes("canary"),
  );
});
