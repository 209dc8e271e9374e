/** A push to Debian's docker-registry, where this machine has one. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { makeLayer, makeOciImage, pushImage } from "@dstack/image/oci";
import { terminate } from "@dstack/process";

const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack");
const candidates = [
  process.env["DSTACK_DOCKER_REGISTRY"],
  join(cache, "tools/bin/docker-registry"),
  "/usr/bin/docker-registry",
].filter((path) => path !== undefined);
const program = (
  await Promise.all(
    candidates.map((path) =>
      access(path).then(
        () => path,
        () => undefined,
      ),
    ),
  )
).find((path) => path !== undefined);

let dir = "";
let pid: number | undefined;
let registryUrl = "";

before(async () => {
  assert.ok(program !== undefined, "docker-registry, which the bootstrap unpacks, is not on this machine");
  dir = await mkdtemp(join(tmpdir(), "dstack-registry-"));
  const port = await freePort();
  registryUrl = `http://127.0.0.1:${port}`;
  await writeFile(
    join(dir, "config.yml"),
    `version: 0.1\nstorage: { filesystem: { rootdirectory: ${dir}/data } }\nhttp: { addr: "127.0.0.1:${port}" }\n`,
  );
  const child = spawn(program, ["serve", join(dir, "config.yml")], { stdio: "ignore" });
  pid = child.pid;
  const deadline = Date.now() + 20_000;
  while (
    !(await fetch(`${registryUrl}/v2/`).then(
      (response) => response.ok,
      () => false,
    ))
  ) {
    if (Date.now() > deadline || child.exitCode !== null) throw new Error("docker-registry did not start");
    await sleep(100);
  }
});

after(async () => {
  if (pid !== undefined) await terminate(pid);
  if (dir !== "") await rm(dir, { recursive: true, force: true });
});

test("pushes an image that the registry then serves under its digest", async () => {
  const image = makeOciImage({
    layer: await makeLayer([{ kind: "file", path: "hello", bytes: Buffer.from("hi") }]),
    command: ["/hello"],
  });
  const pushed = await pushImage({ registryUrl, repository: "dstack/test", tag: "latest", image });
  assert.equal(pushed.digest, image.digest);
  const manifest = await fetch(`${registryUrl}/v2/dstack/test/manifests/${pushed.digest}`, {
    headers: { accept: "application/vnd.oci.image.manifest.v1+json" },
  });
  assert.equal(manifest.status, 200);
  assert.deepEqual(new Uint8Array(await manifest.arrayBuffer()), new Uint8Array(image.manifest.bytes));
  assert.deepEqual(await pushImage({ registryUrl, repository: "dstack/test", tag: "latest", image }), pushed);
});

test("reports what the registry says about a blob whose digest is wrong", async () => {
  const image = makeOciImage({ layer: await makeLayer([]) });
  const [config, layer] = image.blobs;
  assert.ok(config && layer);
  const broken = { ...image, blobs: [config, { ...layer, bytes: Buffer.from("other") }] };
  await assert.rejects(
    pushImage({ registryUrl, repository: "dstack/broken", tag: "latest", image: broken }),
    /answered 400/,
  );
});

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        typeof address === "object" && address !== null ? resolve(address.port) : reject(new Error("no port")),
      );
    });
  });
}
