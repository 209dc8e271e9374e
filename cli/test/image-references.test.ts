import assert from "node:assert/strict";
import { test } from "node:test";
import { pinImages, splitReference } from "../src/clients/image-references.ts";

const digest = `sha256:${"ab".repeat(32)}`;
const lookup = async (repository: string, tag: string): Promise<string | undefined> =>
  repository === "dstack/hello" && tag === "latest" ? digest : undefined;

test("writes the digest in place of the tag and keeps every other byte", async () => {
  const text = 'services:\n  web: # the app\n    image: "dstack/hello"   # pinned at deploy\n    ports: ["80:80"]\n';
  const { text: pinned, resolved } = await pinImages(text, lookup, false);
  assert.equal(
    pinned,
    `services:\n  web: # the app\n    image: dstack/hello@${digest}   # pinned at deploy\n    ports: ["80:80"]\n`,
  );
  assert.deepEqual(resolved, [{ from: "dstack/hello", to: `dstack/hello@${digest}` }]);
});

test("a tag that nothing resolves is refused unless mutable tags are allowed (audit 07)", async () => {
  const text = "services:\n  a:\n    image: nginx:1\n  b:\n    image: dstack/hello:latest\n";
  await assert.rejects(pinImages(text, lookup, false), /image nginx:1 cannot/);
  assert.equal(
    (await pinImages(text, lookup, true)).text,
    text.replace("dstack/hello:latest", `dstack/hello@${digest}`),
  );
});

test("a registry's port is not a tag", () => {
  assert.deepEqual(splitReference("localhost:5000/a/b"), { repository: "localhost:5000/a/b", tag: "latest" });
  assert.deepEqual(splitReference("a/b:v1"), { repository: "a/b", tag: "v1" });
});
