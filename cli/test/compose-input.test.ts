import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gatewayAnswerOf, readComposeInput, type ComposeInput } from "../src/apps/plan/compose-input.ts";
import type { DigestResolver } from "@dstack/compose/docker";
import { CliError } from "../src/terminal/errors.ts";

const folder = await mkdtemp(join(tmpdir(), "dstack-compose-input-"));
after(() => rm(folder, { recursive: true }));
const digest = `sha256:${"ab".repeat(32)}`;

const digests: DigestResolver = async ({ path, tag }) => (path === "library/redis" && tag === "7" ? digest : undefined);

async function read(
  yaml: string | Uint8Array,
  allowMutable = false,
  variables: readonly string[] = [],
  values: Readonly<Record<string, string>> = {},
): Promise<ComposeInput> {
  const path = join(folder, "docker-compose.yaml");
  await writeFile(path, yaml);
  return readComposeInput(path, {
    digests,
    allowMutable,
    variables: [...variables, ...Object.keys(values)],
    values: new Map(Object.entries(values)),
    mayHaveMore: false,
  });
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
  const { file, pinned } = await read(yaml);
  assert.equal(file.text, yaml.replace("redis:7", `redis@${digest}`));
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
  assert.equal((await read(yaml, true)).file.text, yaml.replace("redis:7", `redis@${digest}`));
});

test("what is no compose file is refused, with the line where there is one", async () => {
  assert.match((await refusal(read("services: ["))).message, /line 1: .*YAML/);
  assert.match((await refusal(read("volumes: {}\n"))).message, /services/);
  assert.match((await refusal(read(Uint8Array.of(0xff, 0xfe)))).message, /UTF-8/);
  assert.match((await refusal(read(`services: {}\n#${"x".repeat(5_000_000)}`))).message, /bytes/);
  assert.match(
    (
      await refusal(
        readComposeInput("/nowhere", {
          digests,
          allowMutable: false,
          variables: [],
          values: new Map(),
          mayHaveMore: false,
        }),
      )
    ).message,
    /cannot be read/,
  );
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

test("what cannot run in a guest is refused by line, all of it at once, and the rest is advice", async () => {
  const yaml = [
    "services:",
    "  a:",
    "    image: redis:7",
    '    port: ["80:80"]',
    '    ports: ["8090:80"]',
    "    env_file: .env",
    "    privileged: true",
  ].join("\n");
  const { message } = await refusal(read(yaml));
  for (const text of [/line 4: .*unknown key port/, /line 5: .*8090.*agent/, /line 6: .*\.env.*travel/])
    assert.match(message, text);
  const { advice } = await read("services:\n  a:\n    image: redis:7\n    privileged: true\n");
  assert.match(advice.join("\n"), /line 4: .*privileged/);
});

test("a variable that must have a value and is not given is refused, unless a script may set it", async () => {
  const yaml = "services:\n  a:\n    image: redis:7\n    command: --requirepass ${PASSWORD:?choose one}\n";
  assert.match((await refusal(read(yaml))).message, /line 4: PASSWORD must have a value and is not given: choose one/);
  await read(yaml, false, ["PASSWORD"]);
  await readComposeInput(join(folder, "docker-compose.yaml"), {
    digests,
    allowMutable: false,
    variables: [],
    values: new Map(),
    mayHaveMore: true,
  });
});

test("what the values of variables make wrong is refused by its line, and no value is shown", async () => {
  const yaml = 'services:\n  a:\n    image: redis:7\n    ports: ["${P:-80}:80"]\n    restart: ${R:-no}\n';
  assert.deepEqual((await read(yaml)).gateway.ports, [80]);
  assert.deepEqual((await read(yaml, false, [], { P: "81" })).gateway.ports, [81]);
  assert.match((await refusal(read(yaml, false, [], { P: "8090" }))).message, /line 4: .*values of its variables/);
  const { message } = await refusal(read(yaml, false, [], { R: "canary" }));
  assert.match(message, /line 5: services\.a\.restart: the values of its variables make it wrong/);
  assert.ok(!message.includes("canary"));
});

test("an image behind a variable that is sent may change, whatever it is today", async () => {
  const pinned = `redis@${digest}`;
  const yaml = `services:\n  a:\n    image: \${IMAGE:-${pinned}}\n`;
  for (const value of [{}, { IMAGE: pinned }])
    assert.match(
      (await refusal(read(yaml, false, ["IMAGE"], value))).message,
      /line 3: image \(from variables\) of a: the variable IMAGE decides/,
    );
  await read(yaml, true, [], { IMAGE: pinned });
});
