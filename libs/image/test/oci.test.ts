import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { buildBusyboxImage, makeLayer, makeOciImage, pushImage } from "@dstack/image/oci";

const HELLO = join(import.meta.dirname, "../../../examples/hello/image");
const build = () =>
  buildBusyboxImage({
    busybox: Buffer.from("busybox"),
    contextDir: HELLO,
    command: ["httpd"],
    exposedPorts: [8080],
    volumes: ["/data"],
  });

test("builds the same image twice, and another one from other bytes", async () => {
  assert.equal((await build()).digest, (await build()).digest);
  assert.notEqual(
    (await build()).digest,
    (await buildBusyboxImage({ busybox: Buffer.from("other"), contextDir: HELLO, command: ["httpd"] })).digest,
  );
});

test("every blob has the digest and size that the manifest says", async () => {
  const image = await build();
  const manifest = JSON.parse(Buffer.from(image.manifest.bytes).toString()) as {
    config: { digest: string; size: number };
    layers: { digest: string; size: number }[];
  };
  for (const { digest, size } of [manifest.config, ...manifest.layers]) {
    const blob = image.blobs.find((candidate) => candidate.digest === digest);
    assert.equal(blob?.bytes.length, size);
    assert.equal(
      `sha256:${createHash("sha256")
        .update(blob?.bytes ?? "")
        .digest("hex")}`,
      digest,
    );
  }
});

test("the configuration names the uncompressed layer", async () => {
  const layer = await makeLayer([{ kind: "file", path: "a", bytes: Buffer.from("x") }]);
  const image = makeOciImage({ layer });
  const [config, compressed] = image.blobs;
  const { rootfs } = JSON.parse(Buffer.from(config?.bytes ?? "").toString()) as { rootfs: { diff_ids: string[] } };
  assert.deepEqual(rootfs.diff_ids, [
    `sha256:${createHash("sha256")
      .update(gunzipSync(compressed?.bytes ?? ""))
      .digest("hex")}`,
  ]);
});

test("refuses repository names and tags that would reach another path of the registry", async () => {
  const image = makeOciImage({ layer: await makeLayer([]) });
  for (const repository of ["../x", "a//b", "Upper", "a?b", "/a", "a/"])
    await assert.rejects(pushImage({ registryUrl: "http://127.0.0.1:9", repository, tag: "t", image }), {
      code: "registry",
    });
  for (const tag of ["", "a/b", "..", "-x", "a".repeat(129)])
    await assert.rejects(pushImage({ registryUrl: "http://127.0.0.1:9", repository: "a/b", tag, image }), {
      code: "registry",
    });
});

test("says which request failed when no registry answers", async () => {
  const image = makeOciImage({ layer: await makeLayer([]) });
  await assert.rejects(
    pushImage({ registryUrl: "http://127.0.0.1:9", repository: "a/b", tag: "t", image, timeoutMs: 2000 }),
    /HEAD .* at 127\.0\.0\.1:9 failed/,
  );
});
