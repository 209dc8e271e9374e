import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { formatChecksumFile, ImageError, osImageHash } from "@dstack/image";
import { ImageStore } from "@dstack/image/store";
import { toHex, utf8, type Hash32 } from "@dstack/bytes";
import { createLogger } from "@dstack/log";
import { pack } from "tar-stream";

const log = createLogger({ name: "test", stream: { write: () => true } });
const FILES: Record<string, Uint8Array> = {
  "ovmf.fd": Buffer.from("firmware"),
  bzImage: Buffer.from("kernel"),
  "initramfs.cpio.gz": Buffer.from("initrd".repeat(40_000)),
  "metadata.json": Buffer.from(
    JSON.stringify({ bios: "ovmf.fd", kernel: "bzImage", initrd: "initramfs.cpio.gz", cmdline: "console=ttyS0" }),
  ),
};
const sums = (files: Readonly<Record<string, Uint8Array>>): Uint8Array =>
  formatChecksumFile(
    Object.entries(files).map(([name, bytes]) => ({ name, sha256: createHash("sha256").update(bytes).digest("hex") })),
  );
const SUMS = sums(FILES);
const HASH = osImageHash(SUMS);
const NAME = toHex(HASH);

async function bundle(files: Readonly<Record<string, Uint8Array>>): Promise<Buffer> {
  const archive = pack();
  for (const [name, bytes] of Object.entries(files)) archive.entry({ name, mode: 0o644 }, Buffer.from(bytes));
  archive.finalize();
  return gzipSync(await buffer(archive), { level: 1 });
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
let root: string;
let server: Server;
let good: Buffer;
let answer: Answer;
let requests: string[] = [];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "dstack-store-"));
  good = await bundle({ ...FILES, "sha256sum.txt": SUMS, "digest.txt": utf8("unlisted") });
  server = createServer((request, response) => {
    requests.push(request.url ?? "");
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
after(async () => {
  server.closeAllConnections();
  server.close();
  await rm(root, { recursive: true, force: true });
});

const origin = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const sends =
  (bytes: Uint8Array, headers: Record<string, string> = {}): Answer =>
  (_request, response) =>
    void response.writeHead(200, headers).end(bytes);

async function fresh(
  options: { readonly timeoutMs?: number; readonly fetch?: typeof globalThis.fetch; readonly url?: string } = {},
): Promise<{ readonly cacheDir: string; readonly store: ImageStore }> {
  const cacheDir = await mkdtemp(join(root, "cache-"));
  requests = [];
  const { timeoutMs = 30_000, fetch, url = `${origin()}/mr_{OS_IMAGE_HASH}.tar.gz` } = options;
  return {
    cacheDir,
    store: new ImageStore({ cacheDir, downloadUrl: url, timeoutMs, log, ...(fetch === undefined ? {} : { fetch }) }),
  };
}

/** What a download ends with; afterwards nothing of it may be left. */
async function refusal(options: Parameters<typeof fresh>[0] & { readonly hash?: Hash32 } = {}): Promise<string> {
  const { cacheDir, store } = await fresh(options);
  const error: unknown = await store.imageOf(options.hash ?? HASH).then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(error instanceof ImageError, String(error));
  assert.deepEqual(await readdir(join(cacheDir, "images")), ["tmp"]);
  assert.deepEqual(await readdir(join(cacheDir, "images/tmp")), []);
  return `${error.code}: ${error.message}: ${(error.cause as Error).message}${(error.cause as Error).cause instanceof Error ? `: ${((error.cause as Error).cause as Error).message}` : ""}`;
}

test("downloads by digest once, keeps what the list names, and serves it from the cache", async () => {
  answer = sends(good);
  const { cacheDir, store } = await fresh();
  const all = await Promise.all(Array.from({ length: 20 }, () => store.imageOf(HASH)));
  assert.deepEqual(requests, [`/mr_${NAME}.tar.gz`]);
  assert.equal((await store.imageOf(HASH)).metadata.kernel, "bzImage");
  for (const { files } of all)
    assert.deepEqual(files, {
      firmware: FILES["ovmf.fd"],
      kernel: FILES["bzImage"],
      initrd: FILES["initramfs.cpio.gz"],
      cmdline: "console=ttyS0",
    });
  assert.deepEqual(
    (await readdir(join(cacheDir, "images", NAME))).sort(),
    [...Object.keys(FILES), "sha256sum.txt"].sort(),
  );
  await new ImageStore({ cacheDir, downloadUrl: `${origin()}/{OS_IMAGE_HASH}`, timeoutMs: 1_000, log }).imageOf(HASH);
  assert.equal(requests.length, 1);
});

test("a failed download is not remembered", async () => {
  answer = (_request, response) => void response.writeHead(503).end();
  const { store } = await fresh();
  await assert.rejects(store.imageOf(HASH), { code: "image-unavailable" });
  answer = sends(good);
  await store.imageOf(HASH);
});

test("a cache whose files rot, vanish or were swapped is downloaded again", async () => {
  answer = sends(good);
  const { cacheDir, store } = await fresh();
  await store.imageOf(HASH);
  const folder = join(cacheDir, "images", NAME);
  const spoil: (() => Promise<unknown>)[] = [
    () => writeFile(join(folder, "bzImage"), "kernel of somebody else"),
    () => rm(join(folder, "ovmf.fd")),
    () => rm(join(folder, "sha256sum.txt")),
    () => writeFile(join(folder, "sha256sum.txt"), sums({ ...FILES, bzImage: utf8("evil") })),
    async () => {
      await rm(join(folder, "bzImage"));
      await symlink("/proc/self/exe", join(folder, "bzImage"));
    },
  ];
  for (const [index, change] of spoil.entries()) {
    await change();
    assert.deepEqual((await store.imageOf(HASH)).files.kernel, FILES["bzImage"]);
    assert.equal(requests.length, index + 2);
  }
});

test("an image that is not what its hash says is refused, by the file that differs", async () => {
  const evil = { ...FILES, bzImage: utf8("evil") };
  answer = sends(await bundle({ ...evil, "sha256sum.txt": SUMS }));
  assert.match(
    await refusal(),
    /^wrong-image: .*Checksum verification failed: bzImage: sha256sum.txt expects [0-9a-f]{64}, the file has/,
  );
  answer = sends(await bundle({ ...evil, "sha256sum.txt": sums(evil) }));
  assert.match(
    await refusal(),
    /wrong-image: .*os_image_hash does not match sha256\(sha256sum.txt\): expected [0-9a-f]{64}, got/,
  );
  answer = sends(await bundle(FILES));
  assert.match(await refusal(), /wrong-image: .*sha256sum.txt not found/);
  const { bzImage: _gone, ...rest } = FILES;
  answer = sends(await bundle({ ...rest, "sha256sum.txt": SUMS }));
  assert.match(await refusal(), /wrong-image: .*the archive lacks it/);
  const list = sums(rest);
  answer = sends(await bundle({ ...rest, "sha256sum.txt": list }));
  assert.match(await refusal({ hash: osImageHash(list) }), /wrong-image: .*does not list all of/);
});

test("archives with links, paths or twice the same name are refused", async () => {
  const archive = pack();
  archive.entry({ name: "bzImage", type: "symlink", linkname: "/etc/passwd" });
  archive.finalize();
  answer = sends(gzipSync(await buffer(archive)));
  assert.match(await refusal(), /wrong-image: .*bundle at .* is refused: .*symlink/);
  answer = sends(await bundle({ "../bzImage": utf8("x") }));
  assert.match(await refusal(), /wrong-image: .*plain file name/);
});

test("a server that is slow, endless, or says too little about its length ends at the deadline or the limit", async () => {
  answer = () => undefined;
  assert.match(await refusal({ timeoutMs: 150 }), /^image-unavailable: .*Download image timeout \(150 ms\), url: http/);
  answer = (_request, response) => {
    response.writeHead(200);
    let at = 0;
    const timer = setInterval(
      () => (at < good.length ? response.write(good.subarray(at, (at += 16))) : response.end()),
      20,
    );
    response.once("close", () => clearInterval(timer));
  };
  assert.match(await refusal({ timeoutMs: 300 }), /^image-unavailable: .*timeout/);
  const zeros = gzipSync(Buffer.alloc(1 << 20), { level: 0 });
  answer = (_request, response) => {
    const pump = (): void => {
      while (!response.destroyed && response.write(zeros));
    };
    response.on("drain", pump).writeHead(200);
    pump();
  };
  assert.match(await refusal(), /^wrong-image: .*is refused/);
});

test("a connection that breaks off is no wrong image: it may be whole the next time", async () => {
  answer = (_request, response) => {
    response.writeHead(200, { "content-length": good.length });
    response.write(good.subarray(0, good.length - 50), () => response.destroy());
  };
  assert.match(await refusal(), /^image-unavailable: .*broke off/);
  answer = sends(good.subarray(0, good.length - 50));
  assert.match(await refusal(), /^wrong-image: .*is refused/);
});

test("bytes behind the length that the server announced are not taken", async () => {
  answer = (request) =>
    void request.socket.end(
      Buffer.concat([
        Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${good.length}\r\nconnection: close\r\n\r\n`),
        good,
        good,
      ]),
    );
  const { store } = await fresh();
  await store.imageOf(HASH);
});

test("a gzip bomb ends at the size limit, compressed twice too", { timeout: 600_000 }, async () => {
  const bomb = gzipSync(Buffer.alloc(270 * 1024 * 1024), { level: 1 });
  answer = sends(bomb);
  assert.match(await refusal(), /^wrong-image: .*(more than \d+ bytes|is refused)/);
  answer = sends(gzipSync(bomb), { "content-encoding": "gzip" });
  assert.match(await refusal(), /^wrong-image: /);
});

test("other statuses say so", async () => {
  for (const status of [204, 206, 304, 404, 500]) {
    answer = (_request, response) => void response.writeHead(status).end();
    assert.match(
      await refusal(),
      new RegExp(`^image-unavailable: .*HTTP status ${status}, url: ${origin()}/mr_${NAME}`),
    );
  }
});

test("follows no redirect from plain HTTP, so that the image server cannot choose whom this host talks to", async () => {
  for (const location of [
    `${origin()}/elsewhere`,
    "https://127.0.0.1:1/",
    "/relative",
    "file:///etc/passwd",
    "http://[",
  ]) {
    answer = (_request, response) => void response.writeHead(302, { location }).end();
    assert.match(await refusal(), /image-unavailable: .*redirects; that is followed from https to https only/);
    assert.equal(requests.length, 1);
  }
});

test("follows a few redirects within https, and none that leaves it", async () => {
  const asked: string[] = [];
  const answers: Record<string, Response> = {};
  const fetch = ((url: string) => {
    asked.push(url);
    return Promise.resolve(answers[url]!);
  }) as unknown as typeof globalThis.fetch;
  const to = (location: string): Response => new Response(null, { status: 307, headers: { location } });
  Object.assign(answers, {
    [`https://a.test/${NAME}`]: to("https://b.test/x"),
    "https://b.test/x": to("/y"),
    "https://b.test/y": new Response(new Uint8Array(good)),
  });
  const { store } = await fresh({ fetch, url: "https://a.test/{OS_IMAGE_HASH}" });
  await store.imageOf(HASH);
  assert.equal(asked.length, 3);
  answers[`https://a.test/${NAME}`] = to("http://b.test/x");
  assert.match(
    await refusal({ fetch, url: "https://a.test/{OS_IMAGE_HASH}" }),
    /redirects; that is followed from https to https only/,
  );
  answers["https://a.test/loop"] = to("https://a.test/loop");
  answers[`https://a.test/${NAME}`] = to("https://a.test/loop");
  assert.match(await refusal({ fetch, url: "https://a.test/{OS_IMAGE_HASH}" }), /redirects more than 3 times/);
});

test("clears what is named, in each spelling that a cache of the reference has, and nothing else (#558)", async () => {
  const { cacheDir, store } = await fresh();
  const other = "cd".repeat(32);
  const present = async (folder: string): Promise<string[]> =>
    (await readdir(join(cacheDir, folder)).catch(() => ["gone"])).sort();
  for (const folder of ["images", "measurements", "computed"]) {
    await mkdir(join(cacheDir, folder));
    for (const name of [NAME, other])
      await writeFile(join(cacheDir, folder, folder === "measurements" ? `${name}.json` : name), "{}");
  }
  for (const key of ["../images", "..", ".", "/", "tmp", "a".repeat(129), `${NAME}/..`, `${NAME}.json`, " all"]) {
    for (const kind of ["images", "measurements"] as const)
      await assert.rejects(
        store.clear(kind, key),
        (error: unknown) => error instanceof ImageError && error.code === "bad-cache-key",
      );
  }
  for (const key of ["", NAME.slice(2), `${NAME}00`]) await store.clear("images", key);
  await store.clear("measurements", NAME);
  assert.deepEqual(
    [await present("images"), await present("measurements"), await present("computed")],
    [[NAME, other].sort(), [`${other}.json`], [other]],
  );
  await store.clear("images", NAME.toUpperCase());
  assert.deepEqual(await present("images"), [other]);
  for (const kind of ["images", "measurements"] as const) await store.clear(kind, "all");
  assert.deepEqual(await readdir(cacheDir), []);
  await store.clear("images", NAME);
});

test("clearing everything leaves a download that is under way to its end", { timeout: 600_000 }, async () => {
  let release = (): void => undefined;
  answer = (_request, response) => {
    response.writeHead(200).write(good.subarray(0, 2_000));
    release = () => void response.end(good.subarray(2_000));
  };
  const { cacheDir, store } = await fresh();
  const pending = store.imageOf(HASH);
  while ((await readdir(join(cacheDir, "images/tmp")).catch(() => [])).length === 0 || requests.length === 0)
    await new Promise((resolve) => setImmediate(resolve));
  await store.clear("images", "all");
  release();
  assert.equal((await pending).files.cmdline, "console=ttyS0");
});

test(
  "a process killed inside a download leaves a cache that the next one uses and cleans",
  { timeout: 600_000 },
  async () => {
    answer = (_request, response) => void response.writeHead(200).write(good.subarray(0, 1_000));
    const { cacheDir, store } = await fresh();
    const script = `import { ImageStore } from "@dstack/image/store"; import { createLogger } from "@dstack/log";
    await new ImageStore({ cacheDir: ${JSON.stringify(cacheDir)}, downloadUrl: "${origin()}/{OS_IMAGE_HASH}", timeoutMs: 60000, log: createLogger({ name: "x" }) }).imageOf(Buffer.from("${NAME}", "hex"));`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      cwd: import.meta.dirname,
      stdio: "ignore",
    });
    const temporary = join(cacheDir, "images/tmp");
    const halfway = async (): Promise<boolean> => {
      const [work] = await readdir(temporary).catch(() => []);
      return work !== undefined && (await readdir(join(temporary, work)).catch(() => [])).length > 0;
    };
    while (!(await halfway())) {
      assert.equal(child.exitCode, null);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    child.kill("SIGKILL");
    await once(child, "exit");
    const [left] = await readdir(temporary);
    answer = sends(good);
    await store.imageOf(HASH);
    assert.deepEqual(await readdir(temporary), [left], "somebody else may still be writing it");
    await utimes(join(temporary, left!), 0, 0);
    await rm(join(cacheDir, "images", NAME), { recursive: true });
    await store.imageOf(HASH);
    assert.deepEqual(await readdir(temporary), []);
    assert.equal(await readFile(join(cacheDir, "images", NAME, "bzImage"), "utf8"), "kernel");
  },
);
