import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { utf8, utf8Decode } from "@dstack/bytes";
import { listImages, parseImageReference, pinImages, readComposeFile } from "../../src/docker/index.ts";

const digest = `sha256:${"ab".repeat(32)}`;
const pin = async (text: string, variables: Record<string, string> = {}): ReturnType<typeof pinImages> => {
  const environment = { variables: new Map(Object.entries(variables)) };
  return pinImages(readComposeFile(utf8(text), environment), () => Promise.resolve(digest), environment);
};
const pinned = async (text: string): Promise<string> => utf8Decode((await pin(text)).bytes);

describe("image names", () => {
  it("are read as Docker reads them", () => {
    for (const [text, registry, path, tag] of [
      ["redis", "docker.io", "library/redis", "latest"],
      ["redis:7", "docker.io", "library/redis", "7"],
      ["docker.io/redis:7", "docker.io", "library/redis", "7"],
      ["index.docker.io/library/redis", "docker.io", "library/redis", "latest"],
      ["someone/app", "docker.io", "someone/app", "latest"],
      ["localhost:5000/a/b:v1", "localhost:5000", "a/b", "v1"],
      ["localhost/a", "localhost", "a", "latest"],
      ["ghcr.io/x/y_z", "ghcr.io", "x/y_z", "latest"],
      [`a/b@${digest}`, "docker.io", "a/b", undefined],
      [`a/b:1@${digest}`, "docker.io", "a/b", "1"],
    ] as const) {
      const reference = parseImageReference(text);
      assert.deepEqual([reference.registry, reference.path, reference.tag], [registry, path, tag], text);
    }
    for (const text of [
      "",
      "Redis",
      "a b",
      "a:b:c/d",
      "a@sha256:12",
      `a@${digest}00`,
      `a@${digest.toUpperCase().replace("SHA", "sha")}`,
      `a@sha512:${"ab".repeat(32)}`,
      `a@md5:${"ab".repeat(32)}`,
      "a//b",
      "/a",
      "a:",
      "redis:7\n",
      `a@${digest}@${digest}`,
    ])
      assert.throws(() => parseImageReference(text), { code: "image-invalid" }, text);
  });
});

describe("pinImages", () => {
  it("never resolves a name that has a digest: a malformed one is refused by name, another algorithm's is kept", async () => {
    const never = (): Promise<string> => Promise.reject(new Error("asked for a digest"));
    const of = (image: string): ReturnType<typeof pinImages> =>
      pinImages(readComposeFile(utf8(`services: {a: {image: "${image}"}}`)), never);
    for (const bad of [digest.toUpperCase().replace("SHA", "sha"), `${digest}0`, digest.slice(0, -2)])
      assert.deepEqual((await of(`app:1@${bad}`)).mutable[0]?.reason, "invalid", bad);
    assert.throws(() => parseImageReference(`app@${digest}0`), /no digest that Docker takes/);
    const sha512 = `app@sha512:${"ab".repeat(64)}`;
    assert.deepEqual((await of(sha512)).mutable, []);
    assert.equal(listImages(readComposeFile(utf8(`services: {a: {image: "${sha512}"}}`)))[0]?.isPinned, true);
  });

  it("leaves an image whose default does not last: the variable may be sent", async () => {
    for (const [image, variable] of [
      ["${I:-nginx:1}", "I"],
      [`nginx:\${T:-1.29@${digest}}`, "T"],
      [`nginx@sha256:\${D:-${"ab".repeat(32)}}`, "D"],
      ["${A:-${B:-nginx:1}}", "A"],
      ["${A:-${B:-nginx:1}}", "B"],
      [`nginx@sha256:ab\${D:-}${"ab".repeat(31)}`, "D"],
      ["nginx:1${X:-}", "X"],
      ["nginx:1${X-}", "X"],
    ] as const) {
      const environment = { maySend: [variable] };
      const text = `services: {a: {image: "${image}"}}`;
      const file = readComposeFile(utf8(text), environment);
      assert.deepEqual(
        listImages(file).map(({ isPinned, mutableBy }) => [isPinned, mutableBy]),
        [[false, variable]],
        image,
      );
      const { bytes, mutable } = await pinImages(file, () => Promise.resolve(digest), environment);
      assert.equal(utf8Decode(bytes), text);
      assert.equal(mutable[0]?.reason, "variable");
    }
    const behind = `\${REG:-reg.example}/app:1@${digest}`;
    const file = readComposeFile(utf8(`services: {a: {image: "${behind}"}}`), { maySend: ["REG"] });
    assert.equal(listImages(file)[0]?.isPinned, true, "a digest behind everything holds whatever is sent");
  });

  const image = "registry.example/shop/app:1.4";
  const to = `registry.example/shop/app@${digest}`;

  it("writes the digest into the image's bytes alone, whatever the style", async () => {
    for (const text of [
      `services: {a: {image: ${image}, restart: always}}`,
      `services:\n  a:\n    image: ${image} # why\n    restart: always\n`,
      `services:\n  a:\n    image: "${image}"\n`,
      `services:\n  a:\n    image: '${image}'\n`,
      `services:\n  a:\n    image: >-\n      ${image}\n    restart: always\n`,
      `services:\n  a:\n    image: |-\n      ${image}\n\n    restart: always\n`,
      `services:\n  a:\n    image: !!str ${image}\n`,
      `x-i: &i ${image}\nservices: {a: {image: *i}, b: {image: *i}}\n`,
      `services: {a: {image: &i ${image}}, b: {image: *i}}\n`,
      `x-c: &c\n  image: ${image}\nservices:\n  a:\n    <<: *c\n  b:\n    <<: *c\n`,
      `services:\n  a: {image: ${image}}\n  b: {extends: a}\n`,
      `services: {a: {image: old}}\n---\nservices: {a: {image: ${image}}}\n`,
      `\ufeffservices:\r\n  a:\r\n    image: ${image}\r\n`,
      `services: {a: {image: "\${IMG:-${image}}"}}`,
      `services: {a: {image: "\${IMG-${image}}"}}`,
    ])
      assert.equal(await pinned(text), text.replace(image, to), text);
    const escaped = await pinned(String.raw`services: {a: {image: "registry.example/shop\/app:1.4"}}`);
    assert.equal(escaped, `services: {a: {image: "${to}"}}`);
  });

  it("puts the digest behind what is written where a variable has a say in a part", async () => {
    for (const [text, expected] of [
      ["app:${TAG:-1.4}", `app:\${TAG:-1.4@${digest}}`],
      ["${REG:-}nginx:1", `\${REG:-}nginx:1@${digest}`],
      ["${REG-}nginx:1", `\${REG-}nginx:1@${digest}`],
      ["${REG:-reg.example}/app:1.4", `\${REG:-reg.example}/app:1.4@${digest}`],
    ] as const)
      assert.equal(await pinned(`services: {a: {image: "${text}"}}`), `services: {a: {image: "${expected}"}}`);
  });

  it("leaves an image whose value is not in the file, with the variable's name", async () => {
    for (const [text, variables] of [
      ["$IMG", {}],
      ["app:${TAG}", {}],
      ["app:${TAG:-1.4}", { TAG: "2" }],
      ["${REG}/app:1.4", {}],
    ] as const) {
      const source = `services: {a: {image: "${text}"}}`;
      const { bytes, mutable } = await pin(source, variables);
      assert.equal(utf8Decode(bytes), source);
      assert.equal(mutable[0]?.reason, "variable");
      assert.match(mutable[0]?.mutableBy ?? "", /^(?:IMG|TAG|REG)$/);
    }
  });

  it("keeps what is pinned, and names what nobody resolves", async () => {
    const text = `services: {a: {image: app@${digest}}, b: {image: gone:1}, c: {image: Wrong}, d: {build: .}}`;
    const file = readComposeFile(utf8(text));
    const { bytes, mutable } = await pinImages(file, () => Promise.resolve(undefined));
    assert.equal(utf8Decode(bytes), text);
    assert.deepEqual(
      mutable.map(({ service, reason }) => [service, reason]),
      [
        ["b", "unresolved"],
        ["c", "invalid"],
      ],
    );
    assert.deepEqual(
      listImages(file).map(({ isPinned }) => isPinned),
      [true, false, false],
    );
  });

  it("gives nothing where pinning would change anything else", async () => {
    const shared = `services:\n  a:\n    image: &i ${image}\n    environment: {IMAGE: *i}\n`;
    await assert.rejects(pin(shared), { code: "pin-failed", message: /services\.a\.environment\.IMAGE/ });
    const file = readComposeFile(utf8(`services: {a: {image: ${image}}}`));
    await assert.rejects(
      pinImages(file, () => Promise.resolve("sha256:x\nprivileged: true")),
      { code: "pin-failed" },
    );
  });
});
