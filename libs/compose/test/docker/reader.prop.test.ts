import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { utf8, utf8Decode } from "@dstack/bytes";
import fc from "fast-check";
import { ComposeError } from "../../src/index.ts";
import {
  gatewayPorts,
  isUnderstood,
  lintComposeFile,
  listImages,
  pinImages,
  powersOf,
  readComposeFile,
  type ComposeFile,
} from "../../src/docker/index.ts";

const digest = `sha256:${"cd".repeat(32)}`;

/** Reads and asks everything; undefined where the file is refused. */
function ask(bytes: Uint8Array, areAll: boolean): ComposeFile | undefined {
  let file: ComposeFile;
  try {
    file = readComposeFile(bytes, { areAll });
  } catch (error) {
    assert.ok(error instanceof ComposeError, String(error));
    return undefined;
  }
  lintComposeFile(file);
  gatewayPorts(file);
  powersOf(file);
  listImages(file);
  isUnderstood(file);
  return file;
}

const word = fc.constantFrom(
  "services",
  "image",
  "ports",
  "volumes",
  "environment",
  "extends",
  "profiles",
  "deploy",
  "build",
  "web",
  "db",
  "<<",
  "x-a",
  "name",
  "include",
  "secrets",
  "configs",
  "networks",
  "depends_on",
  "network_mode",
  "host",
  "80:80",
  "$A",
  "${A:-b}",
  "${A",
  "&a x",
  "*a",
  "!reset",
  "!!str",
  "- ",
  ": ",
  "\n",
  "\n  ",
  "\n    ",
  "{",
  "}",
  "[",
  "]",
  ",",
  "|\n",
  ">-\n",
  "'",
  '"',
  "---\n",
  "...\n",
  "#",
  "\ufeff",
  "\r\n",
  "\t",
  "? ",
  "null",
  "true",
  "5",
  "redis:7",
);
const yamlish = fc.array(word, { maxLength: 60 }).map((words) => words.join(""));

/** A value of any shape under any key that a service has. */
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom<unknown>("x", "", "5", 5, 1.5, true, null, "80:80", "$A", "${A:-1}", "./a:/b", "host", "10s", "1g"),
    fc.array(tie("any"), { maxLength: 3 }),
    fc.dictionary(
      fc.constantFrom("source", "target", "type", "published", "service", "file", "a", "limits"),
      tie("any"),
      { maxKeys: 3 },
    ),
  ),
})).any;
const KEYS = [
  "image",
  "build",
  "ports",
  "volumes",
  "environment",
  "extends",
  "profiles",
  "deploy",
  "depends_on",
  "healthcheck",
  "secrets",
  "configs",
  "networks",
  "network_mode",
  "devices",
  "env_file",
  "links",
  "cap_add",
  "privileged",
  "ulimits",
  "logging",
  "command",
  "expose",
  "gpus",
  "security_opt",
  "volumes_from",
  "pid",
  "scale",
] as const;
const service = fc.dictionary(fc.constantFrom(...KEYS), value, { maxKeys: 5 });
const project = fc.record(
  {
    services: fc.oneof(fc.dictionary(fc.constantFrom("a", "b", "c"), fc.oneof(service, value), { maxKeys: 3 }), value),
    volumes: value,
    secrets: value,
    configs: value,
    networks: value,
    name: value,
    include: value,
  },
  { requiredKeys: ["services"] },
);

describe("the reader of compose files", () => {
  it("throws nothing but ComposeError, whatever the bytes, and neither does any question", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, areAll) => void ask(bytes, areAll)));
    fc.assert(
      fc.property(yamlish, fc.boolean(), (text, areAll) => void ask(utf8(text), areAll)),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(project, fc.boolean(), (json, areAll) => void ask(utf8(JSON.stringify(json)), areAll)),
      {
        numRuns: 2_000,
      },
    );
  });

  it("keeps its work within bounds however aliases multiply", () => {
    const bomb = fc.tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 12 }), fc.boolean());
    fc.assert(
      fc.property(bomb, ([levels, width, isMerge]) => {
        const level = (i: number): string =>
          isMerge
            ? `x${i}: &x${i} {${Array.from({ length: width }, (_, j) => `k${j}: *x${i - 1}`).join(", ")}}\n`
            : `x${i}: &x${i} [${Array.from({ length: width }, () => `*x${i - 1}`).join(", ")}]\n`;
        const text = `x0: &x0 {image: a}\n${Array.from({ length: levels }, (_, i) => level(i + 1)).join("")}services: {a: *x${levels}}\n`;
        const begun = performance.now();
        ask(utf8(text), true);
        assert.ok(performance.now() - begun < 20_000);
      }),
      { numRuns: 30 },
    );
  });
});

describe("pinning", () => {
  const name = fc.constantFrom(
    "redis",
    "redis:7",
    "ghcr.io/a/b:1.2",
    "localhost:5000/x/y",
    "a/b",
    `a@sha256:${"00".repeat(32)}`,
  );
  const styled = fc
    .tuple(name, fc.constantFrom("plain", "'", '"', ">-", "|-", "default", "tail", "alias", "tag"))
    .map(([image, style]): string => {
      switch (style) {
        case "plain":
          return `image: ${image} # comment`;
        case ">-":
        case "|-":
          return `image: ${style}\n      ${image}`;
        case "default":
          return `image: "\${IMAGE:-${image}}"`;
        case "tail":
          return `image: \${REGISTRY:-reg.example}/${image.replace(/^.*\//, "")}`;
        case "alias":
          return `image: *shared`;
        case "tag":
          return `image: !!str ${image}`;
        default:
          return `image: ${style}${image}${style}`;
      }
    });
  const file = fc
    .tuple(
      name,
      fc.array(styled, { minLength: 1, maxLength: 6 }),
      fc.constantFrom("\n", "\r\n"),
      fc.constantFrom("", "\ufeff"),
    )
    .map(([shared, images, end, mark]) => {
      const services = images.map((image, i) => `  s${i}:\n    ${image}\n    restart: always\n`).join("");
      const text = `# "${shared}"\nx-shared: &shared ${shared}\nservices:\n${services}`;
      return mark + text.replaceAll("\n", end);
    });

  it("changes nothing but images, each to the digest that was resolved", async () => {
    await fc.assert(
      fc.asyncProperty(file, async (text) => {
        const before = readComposeFile(utf8(text));
        const { bytes, pinned, mutable } = await pinImages(before, () => Promise.resolve(digest));
        assert.deepEqual(mutable, []);
        const after = readComposeFile(bytes);
        assert.ok(listImages(after).every(({ isPinned }) => isPinned));
        // Every byte outside of the images' own is the same: the lines differ where an image is written, and there alone.
        const [old, fresh] = [text.split("\n"), utf8Decode(bytes).split("\n")];
        assert.equal(fresh.length, old.length);
        const changed = fresh.flatMap((line, i) => (line === old[i] ? [] : [i + 1]));
        assert.equal(changed.length, pinned.length);
        for (const at of changed) {
          const [line = "", was = ""] = [fresh[at - 1], old[at - 1]];
          const digestAt = line.indexOf(digest);
          assert.ok(digestAt > 0, line);
          const rest = line.slice(digestAt + digest.length);
          assert.ok(was.endsWith(rest), `${was} -> ${line}`);
        }
        // Pinning what is pinned changes nothing.
        assert.deepEqual((await pinImages(after, () => Promise.resolve(undefined))).bytes, bytes);
      }),
      { numRuns: 300 },
    );
  });
});
