import assert from "node:assert/strict";
import { createServer, request as forward, type IncomingHttpHeaders } from "node:http";
import { once } from "node:events";
import { chmod, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createLogger } from "@dstack/log";
import { answerKey, publicKeyHex, signingKey } from "../src/answers.ts";
import {
  GovernanceError,
  hypotheticalBoot,
  parseBootInfo,
  webhookClient,
  type WebhookClientOptions,
} from "../src/index.ts";
import { startWebhook, type WebhookBackend } from "../src/webhook-server.ts";

const folder = await mkdtemp(join(tmpdir(), "signed-"));
const lines: string[] = [];
const log = createLogger({ name: "test", stream: { write: (line) => lines.push(line) } });
const decision = { isAllowed: false, reason: "not today", gatewayAppId: "gw" };
const backend: WebhookBackend = {
  info: () => Promise.resolve({ kmsContractAddr: "", gatewayAppId: "gw", chainId: 0, appImplementation: "" }),
  parse: parseBootInfo,
  decide: () => Promise.resolve(decision),
  malformed: () => ({ malformed: true }),
  failure: () => "failed",
};
const [keyPath, tokenPath] = [join(folder, "answer.pem"), join(folder, "tokens")];
await writeFile(tokenPath, "alpha-token\nbeta-token\n");
const server = await startWebhook({
  listen: { host: "127.0.0.1", port: 0 },
  backend,
  log,
  env: { ANSWER_KEY_PATH: keyPath, BEARER_TOKEN_PATH: tokenPath },
});
const key = publicKeyHex(await signingKey(keyPath));

interface Passed {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}
/** Somebody on the way, who may change what goes there and what comes back. */
let onTheWay: {
  there?: (body: Buffer, path: string) => { body?: Buffer; path?: string };
  back?: (answer: Passed) => Passed;
} = {};
const middle = createServer((incoming, response) => {
  const parts: Buffer[] = [];
  incoming
    .on("data", (part: Buffer) => parts.push(part))
    .once("end", () => {
      const { body = Buffer.concat(parts), path = incoming.url ?? "" } =
        onTheWay.there?.(Buffer.concat(parts), incoming.url ?? "") ?? {};
      forward(
        {
          host: "127.0.0.1",
          port: server.port,
          path,
          method: incoming.method,
          headers: { ...incoming.headers, "content-length": String(body.length) },
        },
        (upstream) => {
          const answer: Buffer[] = [];
          upstream
            .on("data", (part: Buffer) => answer.push(part))
            .once("end", () => {
              const passed = {
                status: upstream.statusCode ?? 0,
                headers: upstream.headers,
                body: Buffer.concat(answer),
              };
              const { status, headers, body: out } = onTheWay.back?.(passed) ?? passed;
              response.writeHead(status, { ...headers, "content-length": String(out.length) }).end(out);
            });
        },
      ).end(body);
    });
});
await once(middle.listen(0, "127.0.0.1"), "listening");
after(async () => {
  middle.closeAllConnections();
  middle.close();
  await server.close();
  await rm(folder, { recursive: true });
});

const client = (more: Partial<WebhookClientOptions> = {}) =>
  webhookClient({
    url: `http://127.0.0.1:${(middle.address() as AddressInfo).port}/`,
    timeoutMs: 5_000,
    userAgent: "test",
    bearerToken: () => Promise.resolve("alpha-token"),
    answerKeys: [answerKey(key)],
    ...more,
  });
const BOOT = hypotheticalBoot({
  appId: "33".repeat(20),
  composeHash: "44".repeat(32),
  osImageHash: "22".repeat(32),
  deviceId: "66".repeat(32),
});
const broken = async (
  change: typeof onTheWay,
  run: () => Promise<unknown> = () => client().bootAuth("app", BOOT),
): Promise<string> => {
  onTheWay = change;
  try {
    await run();
    return "believed";
  } catch (error) {
    assert.ok(error instanceof GovernanceError, String(error));
    assert.match(error.message, /no denial/);
    return error.code === "webhook-answer-unproven" ? String(error.facts["rule"]) : error.code;
  } finally {
    onTheWay = {};
  }
};

test("whoever is on the way can allow nothing where the server's key is pinned (SECURITY #1315)", async () => {
  assert.deepEqual(await client().bootAuth("app", BOOT), {
    kind: "denied",
    reason: "not today",
    rule: undefined,
    field: undefined,
  });
  assert.equal((await client().info()).gatewayAppId, "gw");
  const allow = Buffer.from('{"isAllowed":true,"reason":"","gatewayAppId":"evil"}');
  assert.equal(await broken({ back: (answer) => ({ ...answer, body: allow }) }), "answer.signature");
  assert.equal(await broken({ back: ({ status }) => ({ status, headers: {}, body: allow }) }), "answer.signed");
  assert.equal(
    await broken({ back: (answer) => ({ ...answer, status: 302, headers: { ...answer.headers, location: "/x" } }) }),
    "answer.redirect",
  );
  assert.equal(await broken({ back: (answer) => ({ ...answer, status: 500 }) }), "answer.signature");
  assert.equal(
    await broken({ back: (answer) => ({ ...answer, body: answer.body.subarray(0, -1) }) }),
    "answer.signature",
  );
  assert.equal(
    await broken({ back: (answer) => ({ ...answer, body: Buffer.concat([answer.body, Buffer.from(" ")]) }) }),
    "answer.signature",
  );
  assert.equal(
    await broken({
      back: (answer) => ({ ...answer, body: Buffer.from(String(answer.body).replace("{", '{"isAllowed":true,')) }),
    }),
    "answer.signature",
  );
  assert.equal(
    await broken({ back: (answer) => ({ ...answer, body: Buffer.alloc(70_000, " ") }) }),
    "webhook-unreachable",
  );
  // The gateway that apps trust is as good as a decision.
  assert.equal(
    await broken(
      { back: (answer) => ({ ...answer, body: Buffer.from(String(answer.body).replace('"gw"', '"evil"')) }) },
      () => client().info(),
    ),
    "answer.signature",
  );
});

test("an answer is worth nothing a second time, nor for another request", async () => {
  Object.assign(decision, { isAllowed: true, reason: "" });
  let kept: Passed | undefined;
  onTheWay = { back: (answer) => (kept = answer) };
  await client().bootAuth("app", BOOT);
  Object.assign(decision, { isAllowed: false, reason: "not today" });
  assert.equal(await broken({ back: () => kept! }), "answer.nonce");
  assert.equal(
    await broken({
      back: ({ headers }) => ({
        ...kept!,
        headers: { ...headers, "x-dstack-signature": kept!.headers["x-dstack-signature"] },
      }),
    }),
    "answer.signature",
  );
  // What is changed on its way there is not decided at all.
  const other = Buffer.from(JSON.stringify({ ...BOOT, composeHash: "55".repeat(32) }));
  const before = lines.length;
  assert.equal(await broken({ there: () => ({ body: other }) }), "answer.signed");
  assert.match(lines.slice(before).join("\n"), /x-dstack-request is not the hash of what arrived/);
  assert.doesNotMatch(lines.slice(before).join("\n"), /boot auth request:/);
  assert.equal(await broken({ there: () => ({ path: "/bootAuth/kms" }) }), "answer.signed");
  assert.equal(await broken({ there: () => ({ path: "/" }) }, () => client().info()), "believed");
});

test("who asks without a nonce, or pins nothing, is answered as ever", async () => {
  const plain = await client({ answerKeys: [] }).bootAuth("app", BOOT);
  assert.equal(plain.kind, "denied");
  const headers = { authorization: "Bearer beta-token" };
  const answer = await fetch(`http://${server.address}/`, { headers });
  assert.equal(answer.headers.get("x-dstack-signature"), null);
  assert.equal(((await answer.json()) as { answerKey: string }).answerKey, key);
});

test("a bearer token guards all but health, is looked up for every request, and may be one of several", async () => {
  const status = async (path: string, token?: string, method = "GET"): Promise<number> => {
    const response = await fetch(`http://${server.address}${path}`, {
      method,
      ...(token === undefined ? {} : { headers: { authorization: token } }),
      ...(method === "POST" ? { body: JSON.stringify(BOOT) } : {}),
    });
    const text = await response.text();
    if (response.status === 401) {
      assert.match(response.headers.get("www-authenticate") ?? "", /^Bearer realm=/);
      assert.equal((JSON.parse(text) as { request_id: string }).request_id, response.headers.get("x-request-id"));
    }
    return response.status;
  };
  for (const [path, method] of [
    ["/", "GET"],
    ["/bootAuth/app", "POST"],
    ["/bootAuth/kms", "POST"],
    ["/nothing", "GET"],
    ["//", "GET"],
  ] as const) {
    for (const wrong of [
      undefined,
      "",
      "Bearer",
      "Bearer ",
      "Bearer alpha",
      "Bearer alpha-token beta-token",
      "Bearer alpha-token\\nbeta-token",
      "Basic YWxwaGEtdG9rZW46",
    ])
      assert.equal(await status(path, wrong, method), 401, `${path} ${wrong}`);
    assert.notEqual(await status(path, "Bearer alpha-token", method), 401, path);
    assert.notEqual(await status(path, "bearer  beta-token ", method), 401, path);
  }
  assert.equal(await status("/health"), 200);
  assert.equal(await status("/?token=alpha-token"), 401);
  await writeFile(tokenPath, "gamma-token\n");
  assert.equal(await status("/", "Bearer alpha-token"), 401);
  assert.equal(await status("/", "Bearer gamma-token"), 200);
  // No token that can be read: nobody.
  await writeFile(tokenPath, "\n \n");
  assert.equal(await status("/", "Bearer gamma-token"), 401);
  assert.equal(await status("/", "Bearer "), 401);
  await rm(tokenPath);
  assert.equal(await status("/", "Bearer gamma-token"), 401);
  assert.doesNotMatch(lines.join("\n"), /alpha-token|gamma-token/);
});

test("the key is made once, for its owner alone, and another's file is not replaced", async () => {
  const path = join(folder, "together.pem");
  const keys = await Promise.all([signingKey(path), signingKey(path), signingKey(path)]);
  assert.equal(new Set(keys.map(publicKeyHex)).size, 1);
  assert.equal(publicKeyHex(await signingKey(path)), publicKeyHex(keys[0]!));
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await chmod(path, 0o600);
  await writeFile(path, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
  await assert.rejects(
    signingKey(path),
    (error) =>
      error instanceof GovernanceError && /expected an Ed25519 key/.test(error.message) && !/c2Vj/.test(error.message),
  );
  for (const [env, text] of [
    [{ ANSWER_KEY_PATH: path }, /expected an Ed25519 key/],
    [{ BEARER_TOKEN_PATH: join(folder, "none") }, /BEARER_TOKEN_PATH: .* cannot be read/],
  ] as const)
    await assert.rejects(startWebhook({ listen: { host: "127.0.0.1", port: 0 }, backend, log, env }), text);
});
