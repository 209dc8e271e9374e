import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createLogger } from "@dstack/log";
import { KmsError } from "../src/errors.ts";
import { setUp } from "../src/setup/set-up.ts";
import { fakeAttest, setupService } from "./setup-service.ts";

let base: string;
before(async () => {
  base = await mkdtemp(join(tmpdir(), "kms-setup-"));
});
after(() => rm(base, { recursive: true }));

interface SetUp {
  readonly url: string;
  readonly folder: string;
  readonly printed: readonly string[];
  readonly logged: () => string;
  readonly done: Promise<string>;
  get(
    path: string,
    headers?: Record<string, string>,
  ): Promise<{ readonly status: number; readonly text: string; readonly headers: Headers }>;
  post(
    path: string,
    body: string,
    headers?: Record<string, string>,
  ): Promise<{ readonly status: number; readonly text: string }>;
  stop(): void;
}

/** The set-up of an empty folder, until it ends: `done` tells how. */
async function start(change: { readonly requireToken?: boolean } = {}): Promise<SetUp> {
  const folder = await mkdtemp(join(base, "keys-"));
  const printed: string[] = [];
  let logged = "";
  const stop = new AbortController();
  let address: (value: string) => void = () => undefined;
  const bound = new Promise<string>((resolve) => (address = resolve));
  const log = createLogger({
    name: "test",
    level: "debug",
    stream: {
      write: (line: string) => {
        logged += line;
        const found = /"address":"([^"]+)"/.exec(line)?.[1];
        if (found !== undefined) address(found);
        return true;
      },
    },
  });
  const done = setUp({
    config: {
      keyFolder: folder,
      onboardEnabled: true,
      ownNames: ["kms.example.com"],
      autoBootstrapDomain: "",
      setUp: { listen: { host: "127.0.0.1", port: 0 }, requireToken: change.requireToken ?? false, siteName: "<Site>" },
    },
    now: 1_764_000_000,
    log,
    attest: fakeAttest,
    authorizeBootstrap: () => Promise.resolve(),
    service: (finish) => setupService({ folder, source: undefined, finish }),
    print: (line) => printed.push(line),
    signal: stop.signal,
  }).then(
    () => "set up",
    (error: unknown) => (error instanceof KmsError ? error.code : String(error)),
  );
  const url = `http://${await bound}`;
  const request = async (path: string, init: RequestInit) => {
    const response = await fetch(`${url}${path}`, init);
    return { status: response.status, text: await response.text(), headers: response.headers };
  };
  return {
    url,
    folder,
    printed,
    logged: () => logged,
    done,
    get: (path, headers = {}) => request(path, { headers }),
    post: (path, body, headers = {}) => request(path, { method: "POST", body, headers }),
    stop: () => stop.abort(new Error("SIGTERM")),
  };
}

test(
  "open as released, it bootstraps once, refuses to finish before, and ends after",
  { timeout: 600_000 },
  async () => {
    const kms = await start();
    assert.deepEqual(kms.printed, []);
    assert.equal((await kms.get("/health")).text, "OK");
    const page = await kms.get("/");
    assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'none'/);
    assert.match(page.text, /&#60;Site&#62;/);
    assert.doesNotMatch(page.text, /<Site>|https?:\/\/[^k]/, "nothing from elsewhere");
    assert.equal((await kms.get("/page/../setup-server.ts")).status, 404);
    assert.equal((await kms.get("/page/%2e%2e/setup-server.ts")).status, 404);
    assert.deepEqual(JSON.parse((await kms.get("/state")).text), { keys: false, bootstrap_info: null });
    const early = await kms.get("/finish");
    assert.deepEqual([early.status, /no keys yet/.test(early.text)], [400, true]);
    const [first, second] = await Promise.all([
      kms.post("/prpc/Onboard.Bootstrap?json", '{"domain":"kms.example.com"}'),
      kms.post("/prpc/Bootstrap?json", '{"domain":"kms.example.com"}'),
    ]);
    assert.deepEqual([first.status, second.status].toSorted(), [200, 400], "once, also of two at a time (#610)");
    const made = JSON.parse([first, second].find(({ status }) => status === 200)?.text ?? "{}") as Record<
      string,
      string
    >;
    assert.deepEqual(Object.keys(made).toSorted(), ["attestation", "ca_pubkey", "eventlog", "k256_pubkey", "quote"]);
    assert.equal(made["quote"], "cafe");
    assert.deepEqual((JSON.parse((await kms.get("/state")).text) as { bootstrap_info: unknown }).bootstrap_info, made);
    assert.match(
      (await kms.post("/prpc/Onboard.Bootstrap?json", '{"domain":"other.example"}')).text,
      /KMS has already been bootstrapped/,
    );
    assert.deepEqual([(await kms.get("/finish")).text, await kms.done], ["OK", "set up"]);
    await assert.rejects(fetch(`${kms.url}/health`), "the listener is gone");
  },
);

test("the RPC Finish ends it too, after its answer", { timeout: 600_000 }, async () => {
  const kms = await start();
  assert.equal((await kms.get("/prpc/Onboard.Bootstrap?domain=10.0.2.2")).status, 200, "GET works as in every service");
  assert.deepEqual(await kms.post("/prpc/Onboard.Finish?json", "{}").then(({ status, text }) => [status, text]), [
    200,
    "null",
  ]);
  assert.equal(await kms.done, "set up");
});

test("with a token it does nothing for whoever has none, and logs none (#611)", { timeout: 600_000 }, async () => {
  const kms = await start({ requireToken: true });
  const token = /#token=([0-9a-f]{32})/.exec(kms.printed[0] ?? "")?.[1] ?? "";
  assert.equal(token.length, 32, kms.printed.join());
  const bodies = [
    "/state",
    "/finish",
    "/prpc/Onboard.Bootstrap?domain=kms.example.com",
    "/prpc/Onboard.GetAttestationInfo?json",
    "/prpc/Onboard.Finish?json",
    `/finish?token=${token}`,
    "/elsewhere",
  ];
  for (const headers of [
    {},
    { authorization: "Bearer " },
    { authorization: `Bearer ${"0".repeat(32)}` },
    { authorization: `Basic ${token}` },
  ] as Record<string, string>[]) {
    for (const path of bodies) assert.equal((await kms.get(path, headers)).status, 401, path);
  }
  assert.equal((await kms.get("/")).status, 200, "the page asks for it");
  const headers = { authorization: `Bearer ${token}` };
  assert.equal((await kms.post("/prpc/Onboard.Bootstrap?json", '{"domain":"kms.example.com"}', headers)).status, 200);
  assert.equal((await kms.get("/finish", headers)).text, "OK");
  assert.equal(await kms.done, "set up");
  assert.ok(!kms.logged().includes(token));
});

test("a page of another site cannot make an operator's browser bootstrap or finish", { timeout: 600_000 }, async () => {
  const kms = await start();
  const image = await kms.get("/prpc/Onboard.Bootstrap?domain=kms.example.com", {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64)",
  });
  assert.equal(image.status, 403, "an image or a link, which without TLS says nothing of its origin");
  const strangers: Record<string, string>[] = [
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { origin: "http://evil.example" },
    { origin: "null" },
  ];
  for (const headers of strangers) {
    assert.equal((await kms.post("/prpc/Onboard.Bootstrap?json", '{"domain":"kms.example.com"}', headers)).status, 403);
    assert.equal((await kms.get("/finish", headers)).status, 403);
  }
  assert.equal(
    (
      await kms.post("/prpc/Onboard.Bootstrap?json", '{"domain":"kms.example.com"}', {
        origin: kms.url,
        "sec-fetch-site": "same-origin",
      })
    ).status,
    200,
  );
  kms.stop();
  assert.equal(await kms.done, "stopped");
});

test("a name that was made to lead here does nothing on a listener without a token", { timeout: 600_000 }, async () => {
  const kms = await start();
  const { port } = new URL(kms.url);
  const status = (path: string, host: string | undefined, method = "GET"): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const sent = request(`${kms.url}${path}`, {
        method,
        setHost: false,
        ...(host === undefined ? {} : { headers: { host } }),
      });
      sent
        .once("response", (response) => resolve(response.resume().statusCode))
        .once("error", reject)
        .end();
    });
  for (const host of [
    "evil.example.com",
    `evil.example.com:${port}`,
    "kms.example.com.evil.net",
    "127.0.0.1.evil.net",
    "[bad",
  ]) {
    for (const path of ["/finish", "/state", "/prpc/Onboard.GetAttestationInfo?json"])
      assert.equal(await status(path, host), 403, `${host} ${path}`);
    assert.equal(await status("/prpc/Onboard.Bootstrap?domain=kms.example.com", host, "POST"), 403, host);
  }
  for (const host of [
    undefined,
    `127.0.0.1:${port}`,
    "10.0.2.2",
    "[::1]:8000",
    "localhost",
    "kms",
    `KMS.example.com:${port}`,
  ])
    assert.equal(await status("/state", host), 200, String(host));
  kms.stop();
  await kms.done;
  const guarded = await start({ requireToken: true });
  const token = /#token=([0-9a-f]{32})/.exec(guarded.printed[0] ?? "")?.[1] ?? "";
  const answer = await guarded.get("/state", { authorization: `Bearer ${token}`, host: "kms.other.example" });
  assert.equal(answer.status, 200, "no page of another site has the token");
  guarded.stop();
  await guarded.done;
});

test(
  "told to stop it ends without keys, and requests beyond what it needs are refused",
  { timeout: 600_000 },
  async () => {
    const kms = await start();
    const big = await kms.post("/prpc/Onboard.Bootstrap?json", JSON.stringify({ domain: "a".repeat(100_000) }));
    assert.deepEqual([big.status, /payload too large/.test(big.text)], [400, true]);
    assert.match(
      (await kms.post("/prpc/Onboard.Bootstrap?json", '{"domain":"kms_bad"}')).text,
      /domain contains an invalid DNS label/,
    );
    kms.stop();
    assert.equal(await kms.done, "stopped");
  },
);

test("a configured domain bootstraps without a listener, once the auth server agrees", async () => {
  const folder = await mkdtemp(join(base, "auto-"));
  const log = createLogger({ name: "test", stream: { write: () => true } });
  const options = {
    config: {
      keyFolder: folder,
      onboardEnabled: true,
      ownNames: ["kms.example.com"],
      autoBootstrapDomain: "kms.example.com",
      setUp: { listen: { host: "127.0.0.1", port: 0 }, requireToken: false, siteName: "" },
    },
    now: 1_764_000_000,
    log,
    attest: fakeAttest,
    print: () => undefined,
    signal: new AbortController().signal,
    service: () => assert.fail("no listener"),
  };
  await assert.rejects(
    setUp({ ...options, authorizeBootstrap: () => Promise.reject(new KmsError("self-unauthorized", "no")) }),
    { code: "self-unauthorized" },
  );
  await assert.rejects(
    setUp({
      ...options,
      config: { ...options.config, onboardEnabled: false },
      authorizeBootstrap: () => Promise.resolve(),
    }),
    { code: "not-bootstrapped" },
  );
  await setUp({ ...options, authorizeBootstrap: () => Promise.resolve() });
  await assert.rejects(setUp({ ...options, authorizeBootstrap: () => Promise.resolve() }), {
    code: "already-bootstrapped",
  });
});
