import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gatewayAnswerOf, readComposeInput, type ComposeInput } from "../src/apps/compose-input.ts";
import { CliError } from "../src/terminal/errors.ts";

const folder = await mkdtemp(join(tmpdir(), "dstack-compose-input-"));
after(() => rm(folder, { recursive: true }));
const digest = `sha256:${"ab".repeat(32)}`;

async function read(yaml: string | Uint8Array, allowMutable = false): Promise<ComposeInput> {
  const path = join(folder, "docker-compose.yaml");
  await writeFile(path, yaml);
  return readComposeInput(
    path,
    async ({ path: image, tag }) => (image === "library/redis" && tag === "7" ? digest : undefined),
    allowMutable,
  );
}

const refusal = async (work: Promise<unknown>): Promise<CliError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof CliError, String(error));
  return error;
};

test("writes the digest in place of the tag and keeps every other byte, byte order mark and line ends too", async () => {
  const yaml = '\uFEFFservices:\r\n  db: # the store\r\n    image: "redis:7"   # pinned at deploy\r\n';
  const { text, pinned } = await read(yaml);
  assert.equal(text, yaml.replace("redis:7", `redis@${digest}`));
  assert.deepEqual(
    pinned.map(({ from, to }) => [from, to]),
    [["redis:7", `redis@${digest}`]],
  );
});

test("a tag that nobody resolves and an image that a variable decides are refused by line, unless mutable ones are allowed (audit 07)", async () => {
  const yaml = "services:\n  a:\n    image: nginx:1\n  b:\n    image: ${IMAGE}\n  c:\n    image: redis:7\n";
  const error = await refusal(read(yaml));
  assert.match(error.message, /line 3: image nginx:1 of a: no registry/);
  assert.match(error.message, /line 5: image .* of b: the variable IMAGE decides/);
  assert.match(error.hint ?? "", /--allow-mutable/);
  assert.equal((await read(yaml, true)).text, yaml.replace("redis:7", `redis@${digest}`));
});

test("what is no compose file is refused, with the line where there is one", async () => {
  assert.match((await refusal(read("services: ["))).message, /line 1: .*YAML/);
  assert.match((await refusal(read("volumes: {}\n"))).message, /services/);
  assert.match((await refusal(read(Uint8Array.of(0xff, 0xfe)))).message, /UTF-8/);
  assert.match((await refusal(read(`services: {}\n#${"x".repeat(5_000_000)}`))).message, /bytes/);
  assert.match((await refusal(readComposeInput("/nowhere", async () => undefined, false))).message, /cannot be read/);
});

test("tells which ports the gateway reaches, 80 first, and why others are not", () => {
  const answer = gatewayAnswerOf(
    'services:\n  a:\n    image: x\n    ports: ["8443:443", "127.0.0.1:81:1", "53:53/udp", "80:80"]\n  b:\n    image: x\n    network_mode: host\n',
  );
  assert.deepEqual(answer.ports, [80, 8443]);
  assert.match(answer.notes.join("\n"), /81:1\/tcp of a: bound to loopback/);
  assert.match(answer.notes.join("\n"), /53:53\/udp of a: the gateway forwards TCP alone/);
  assert.match(answer.notes.join("\n"), /b is on the VM's own network/);
  assert.deepEqual(gatewayAnswerOf(undefined), { ports: [], notes: [] });
});
