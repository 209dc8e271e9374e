import assert from "node:assert/strict";
import {
  createServer as createPlainServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { generateKeyPairSync } from "node:crypto";
import { hypotheticalBoot } from "@dstack/governance";
import { answerKey, publicKeyHex, questionOf, signatureHeaders } from "@dstack/governance/answers";
import { generateP256, pkcs8Pem } from "@dstack/keys";
import { createCa, createLeaf } from "@dstack/ratls";
import { webhookAuthApi, type AuthApi, type WebhookOptions } from "../src/release/auth-api.ts";
import { KmsError } from "../src/errors.ts";

type Scripted =
  | string
  | { readonly status: number; readonly text: string }
  | ((response: ServerResponse, request: IncomingMessage, body: string) => void);

interface Webhook {
  readonly auth: AuthApi;
  readonly url: string;
  readonly calls: { readonly path: string; readonly body: string; readonly headers: IncomingHttpHeaders }[];
  now: number;
}

const servers: Server[] = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** A webhook that gives these answers in order; a function may do anything. */
async function webhook(
  answers: readonly Scripted[],
  options: {
    readonly tls?: { readonly key: string; readonly cert: string };
    readonly client?: Partial<WebhookOptions>;
  } = {},
): Promise<Webhook> {
  const calls: Webhook["calls"] = [];
  const left = [...answers];
  const listener: RequestListener = (request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      calls.push({ path: request.url ?? "", body, headers: request.headers });
      const next = left.shift() ?? "{}";
      if (typeof next === "function") next(response, request, body);
      else if (typeof next === "string") response.end(next);
      else response.writeHead(next.status).end(next.text);
    });
  };
  const server = options.tls === undefined ? createPlainServer(listener) : createTlsServer(options.tls, listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `${options.tls === undefined ? "http" : "https"}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const out: Webhook = { calls, url, now: 0, auth: undefined as never };
  return Object.assign(out, {
    auth: webhookAuthApi({
      url: `${url}//`,
      timeoutMs: 20_000,
      userAgent: "dstack-kms/0.6.0",
      clock: { now: () => out.now },
      ...options.client,
    }),
  });
}

const BOOT = hypotheticalBoot({ appId: "11", composeHash: "22", osImageHash: "33", deviceId: "44" });
const boot = (hook: Webhook, kind: "app" | "kms" = "app") => hook.auth.bootAuth(kind, BOOT);
const failure = async (run: Promise<unknown>): Promise<KmsError> => {
  try {
    await run;
  } catch (error) {
    assert.ok(error instanceof KmsError, String(error));
    return error;
  }
  throw new Error("accepted");
};
const ALLOW = '{"isAllowed":true,"reason":"","gatewayAppId":"gw"}';
const DENY = '{"isAllowed":false,"reason":"no","gatewayAppId":"","rule":"apps","field":"appId"}';

test("asks at the path of the kind, with one slash, and keeps no decision", async () => {
  const hook = await webhook([ALLOW, DENY, ALLOW]);
  assert.deepEqual(await boot(hook), { kind: "allowed", gatewayAppId: "gw" });
  assert.deepEqual(await boot(hook), { kind: "denied", reason: "no", rule: "apps", field: "appId" });
  await boot(hook, "kms");
  assert.deepEqual(
    hook.calls.map(({ path }) => path),
    ["/bootAuth/app", "/bootAuth/app", "/bootAuth/kms"],
  );
  assert.equal(hook.calls[0]!.body, JSON.stringify(BOOT));
  assert.deepEqual(
    [
      hook.calls[0]!.headers["user-agent"],
      hook.calls[0]!.headers["content-type"],
      hook.calls[0]!.headers.authorization,
    ],
    ["dstack-kms/0.6.0", "application/json", undefined],
  );
});

test("a denial is asked for once, never again", async () => {
  const hook = await webhook([DENY, ALLOW]);
  assert.equal((await boot(hook)).kind, "denied");
  assert.equal(hook.calls.length, 1);
});

test("an answer that lacks a key, is no JSON or not 2xx is an error, never a permission", async () => {
  const answers = [
    "",
    "null",
    "[]",
    "true",
    '{"isAllowed":true}',
    '{"isAllowed":"true","reason":"","gatewayAppId":""}',
    '{"isAllowed":true,"reason":"","gatewayAppId":null}',
    "<html>",
  ];
  const hook = await webhook([
    ...answers,
    { status: 500, text: "boom" },
    { status: 403, text: ALLOW },
    { status: 302, text: ALLOW },
    ALLOW,
  ]);
  for (const answer of answers) {
    const error = await failure(boot(hook));
    assert.equal(error.code, "auth-answer-invalid", answer);
    assert.ok(
      error.message.startsWith(`failed to decode response from ${hook.url}/bootAuth/app, status=200, body=`),
      error.message,
    );
  }
  assert.equal((await failure(boot(hook))).message, `auth api ${hook.url}/bootAuth/app returned 500: boom`);
  assert.equal((await failure(boot(hook))).code, "auth-answer-invalid");
  assert.equal((await failure(boot(hook))).code, "auth-answer-invalid", "a redirect is not followed");
  assert.equal((await boot(hook)).kind, "allowed", "the next good answer counts");
});

test("an endless answer, one that is cut off and one that never comes end, and are no denial", async () => {
  const endless = (response: ServerResponse): void => {
    const more = (): void => {
      while (response.write(Buffer.alloc(16_384)));
    };
    response.on("drain", more).on("error", () => undefined);
    more();
  };
  const cut = (response: ServerResponse): void => {
    response.writeHead(200, { "content-length": "100" }).write(ALLOW.slice(0, 20), () => response.destroy());
  };
  const hook = await webhook([endless, cut]);
  assert.match((await failure(boot(hook))).message, /exceeds 65536 bytes/);
  assert.equal((await failure(boot(hook))).code, "auth-unreachable");
  const silent = await webhook([() => undefined], { client: { timeoutMs: 200 } });
  const error = await failure(boot(silent));
  assert.equal(error.code, "auth-unreachable");
  assert.match(error.message, /no answer within 200 ms.*no denial/);
  assert.match(
    (
      await failure(
        webhookAuthApi({ url: "http://127.0.0.1:9", timeoutMs: 20_000, userAgent: "x", clock: Date }).bootAuth(
          "app",
          BOOT,
        ),
      )
    ).message,
    /could not be asked \(.*ECONNREFUSED.*no denial/,
  );
});

test("shows the bearer token as it is at each request, and never in an error", async () => {
  let token = "first-token";
  const hook = await webhook([ALLOW, ALLOW, { status: 401, text: "who?" }], {
    client: { bearerToken: async () => token },
  });
  await boot(hook);
  token = "second-token";
  await boot(hook);
  assert.deepEqual(
    hook.calls.map(({ headers }) => headers.authorization),
    ["Bearer first-token", "Bearer second-token"],
  );
  const refused = await failure(boot(hook));
  assert.equal(refused.code, "auth-answer-invalid");
  assert.doesNotMatch(refused.message, /token/);
  for (const text of [
    "no such token: second-token",
    '{"isAllowed":false,"reason":"second-token?","gatewayAppId":""}',
  ]) {
    const echo = await webhook([{ status: text.startsWith("{") ? 200 : 401, text }], {
      client: { bearerToken: async () => token },
    });
    const told = text.startsWith("{") ? JSON.stringify(await boot(echo)) : (await failure(boot(echo))).message;
    assert.doesNotMatch(told, /second-token/, "what a server repeats of it does not come back either");
    assert.match(told, /…/);
  }
  token = "bad\ntoken";
  const broken = await failure(boot(hook));
  assert.equal(broken.code, "auth-unreachable");
  assert.doesNotMatch(broken.message, /bad/);
});

test("speaks TLS to the configured root alone", async () => {
  const now = Math.floor(Date.now() / 1000);
  const authority = (): ReturnType<typeof createCa> =>
    createCa({ commonName: "auth root", key: generateP256(), pathLength: 0, now });
  const issuer = authority();
  const key = generateP256();
  const leaf = createLeaf({
    commonName: "auth",
    issuer,
    publicPoint: key.publicPoint,
    altNames: ["127.0.0.1"],
    serverAuth: true,
    now,
  });
  const tls = { key: pkcs8Pem(key), cert: leaf.pem };
  assert.equal((await boot(await webhook([ALLOW], { tls, client: { ca: issuer.pem } }))).kind, "allowed");
  for (const client of [{}, { ca: authority().pem }]) {
    const hook = await webhook([ALLOW], { tls, client });
    const error = await failure(boot(hook));
    assert.equal(error.code, "auth-unreachable");
    assert.equal(hook.calls.length, 0, "nothing was sent");
  }
  const elsewhere = createLeaf({
    commonName: "auth",
    issuer,
    publicPoint: key.publicPoint,
    altNames: ["auth.example"],
    serverAuth: true,
    now,
  });
  assert.equal(
    (await failure(boot(await webhook([ALLOW], { tls: { ...tls, cert: elsewhere.pem }, client: { ca: issuer.pem } }))))
      .code,
    "auth-unreachable",
  );
});

test("an error text is cut between characters (DS #1278)", async () => {
  const hook = await webhook([
    { status: 502, text: `${"a".repeat(255)}é${"b".repeat(300)}` },
    `{"isAllowed":false,"reason":"${"😀".repeat(2_000)}","gatewayAppId":""}`,
  ]);
  assert.match((await failure(boot(hook))).message, /: a{255}é$/);
  const denied = await boot(hook);
  assert.ok(
    denied.kind === "denied" &&
      denied.reason.isWellFormed() &&
      denied.reason.length > 0 &&
      denied.reason.length <= 2_000,
  );
});

test("information is asked once a second, together for all who ask, and errors are not kept (DS #1311)", async () => {
  const info = '{"status":"ok","kmsContractAddr":"0x","gatewayAppId":"gw","chainId":1,"appImplementation":"0x"}';
  const hook = await webhook([info, info, '{"status":"ok"}', info]);
  const [first, second] = await Promise.all([hook.auth.info(), hook.auth.info()]);
  assert.deepEqual([first, second.chainId], [second, 1n]);
  await hook.auth.info();
  assert.equal(hook.calls.length, 1);
  hook.now = 1_000;
  await hook.auth.info();
  hook.now = 2_000;
  await failure(hook.auth.info());
  await hook.auth.info();
  assert.equal(hook.calls.length, 4);
  hook.now = 0;
  await failure(hook.auth.info());
  assert.equal(hook.calls.length, 5, "a clock that was put back makes no answer younger");
});

test("questions share a connection; one that the server had closed is replaced, a new one that breaks is not", async () => {
  const ports: (number | undefined)[] = [];
  const says =
    (text: string) =>
    (response: ServerResponse): void => {
      ports.push(response.socket?.remotePort);
      response.end(text);
    };
  const breaks = (response: ServerResponse): void => void response.destroy();
  const hook = await webhook([says(ALLOW), says(ALLOW), breaks, says(ALLOW), breaks, breaks]);
  for (let i = 0; i < 2; i++) assert.equal((await boot(hook)).kind, "allowed");
  assert.equal(ports[0], ports[1]);
  assert.equal((await boot(hook)).kind, "allowed", "the kept connection broke, the new one answered");
  assert.notEqual(ports[2], ports[1]);
  assert.equal(hook.calls.length, 4);
  assert.equal((await failure(boot(hook))).code, "auth-unreachable");
  assert.ok(hook.calls.length <= 6);
});

test("with a pinned key, an answer that it did not sign is an error with its rule, never a permission", async () => {
  const key = generateKeyPairSync("ed25519");
  const pinned = answerKey(publicKeyHex(key.privateKey));
  const signed = (body: string) => (response: ServerResponse, request: IncomingMessage, asked: string) => {
    const question = questionOf(request.headers, { method: "POST", path: "/bootAuth/app" }, Buffer.from(asked));
    const bytes = Buffer.from(body);
    response.writeHead(200, signatureHeaders(key.privateKey, question!, { status: 200, body: bytes })).end(bytes);
  };
  const hook = await webhook([signed(ALLOW), ALLOW, signed(DENY), { status: 302, text: ALLOW }], {
    client: { answerKeys: [pinned] },
  });
  assert.equal((await boot(hook)).kind, "allowed");
  const bare = await failure(boot(hook));
  assert.deepEqual([bare.code, bare.facts["rule"]], ["auth-answer-unproven", "answer.signed"]);
  assert.match(bare.message, /the answer is not signed.*\(rule answer\.signed, status 200\); this is no denial/);
  assert.equal((await boot(hook)).kind, "denied");
  const redirected = await failure(boot(hook));
  assert.equal(redirected.facts["rule"], "answer.redirect");
});
