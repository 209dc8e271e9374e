import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { publicKeyHex, signingKey } from "@dstack/governance/answers";
import type { VmmClient } from "../src/clients/vmm-client.ts";
import { applyDeployment, type Deployment } from "../src/apps/apply/apply.ts";
import { deployPorts } from "../src/apps/plan/plan-ports.ts";
import { planDeployment, requireReady } from "../src/apps/plan/plan.ts";
import type { DeployRequest } from "../src/apps/plan/request.ts";
import { selectBackend } from "../src/auth/select-backend.ts";
import { CliError } from "../src/terminal/errors.ts";
import { checkWebhook, chooseWebhook, deploymentWebhook, externalWebhook } from "../src/local/auth-webhook.ts";
import { kmsToml, vmmToml } from "../src/stack/configs.ts";
import { createCli } from "../src/clients/cli.ts";

const folder = await mkdtemp(join(tmpdir(), "dstack-webhook-"));
const cli = createCli({ XDG_STATE_HOME: join(folder, "state"), XDG_CACHE_HOME: join(folder, "cache") });
const { layout } = cli;
let answer: object | undefined = {};
const asked: { path: string; body: string }[] = [];
let headers: IncomingHttpHeaders = {};
const server = createServer((request, response) => {
  let body = "";
  headers = request.headers;
  request
    .on("data", (chunk: Buffer) => (body += chunk.toString()))
    .once("end", () => {
      asked.push({ path: request.url ?? "", body });
      if (answer === undefined) request.socket.destroy();
      else
        response
          .writeHead(200, { "content-type": "application/json" })
          .end(
            JSON.stringify(
              request.url === "/"
                ? { status: "ok", gatewayAppId: "0xAABB", kmsContractAddr: "", chainId: 0, appImplementation: "" }
                : answer,
            ),
          );
    });
});
await once(server.listen(0, "127.0.0.1"), "listening");
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
after(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

const image = join(layout.images, "test");
await mkdir(image, { recursive: true });
const files = {
  kernel: "k",
  initrd: "i",
  rootfs: "r",
  bios: "b",
  "metadata.json": JSON.stringify({
    bios: "bios",
    kernel: "kernel",
    initrd: "initrd",
    rootfs: "rootfs",
    cmdline: "",
    shared_ro: true,
    version: "0.6.0",
    is_dev: false,
  }),
};
for (const [name, content] of Object.entries(files)) await writeFile(join(image, name), content);
await writeFile(
  join(image, "sha256sum.txt"),
  Object.entries(files)
    .map(([name, content]) => `${createHash("sha256").update(content).digest("hex")}  ${name}\n`)
    .join(""),
);
const composeFile = join(folder, "docker-compose.yaml");
await writeFile(composeFile, `services:\n  a:\n    image: busybox@sha256:${"0".repeat(64)}\n`);
const APP = "ab".repeat(20);
const request: DeployRequest = {
  app: {
    composeFile,
    name: "web",
    appId: APP,
    environment: undefined,
    dropEnvironment: false,
    secureTime: undefined,
    storageFs: undefined,
    publicLogs: undefined,
    allowMutable: false,
  },
  machine: { image: "test", vcpu: 1, memoryMib: 1024, diskGib: 1, ports: undefined, dropPorts: false },
  permission: { allow: true, check: true },
};

async function deploy(client: VmmClient, wanted: DeployRequest): Promise<Deployment> {
  const ports = { ...(await deployPorts(client, layout)), say: () => undefined };
  const plan = await planDeployment(wanted, ports);
  requireReady(plan);
  return applyDeployment(plan, ports, { rollBack: true });
}

/** A VMM that keeps what it was asked to make. */
function fakeVmm(present: readonly { readonly name: string; readonly appId: string }[] = []): {
  readonly client: VmmClient;
  readonly created: { appId?: string }[];
} {
  const created: { appId?: string }[] = [];
  const client = {
    list: () => Promise.resolve(present),
    call: ({ name }: { readonly name: string }, vm: { appId?: string }) => {
      // What only asks creates nothing.
      if (name !== "Status" && name !== "GetMeta") created.push(vm);
      return Promise.resolve({ id: "vm", portMappingEnabled: true });
    },
  } as unknown as VmmClient;
  return { client, created };
}

const refusal = async (work: Promise<unknown>): Promise<CliError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof CliError, String(error));
  return error;
};

test("another webhook is asked by KMS, VMM and deploy, until a start without it", async () => {
  assert.match((await deploymentWebhook(layout)).url, /:9302$/);
  await chooseWebhook(layout, { url: `${url}/` });
  assert.deepEqual(await externalWebhook(layout), { url });
  assert.match(
    kmsToml(layout, await deploymentWebhook(layout)),
    new RegExp(`\\[core\\.auth_api\\.webhook\\]\nurl = "${url}"`),
  );
  assert.match(
    vmmToml(layout, { qemuPath: "q", teeSeedHex: "", token: "", webhook: { url }, deviceId: "66" }),
    new RegExp(`\\[auth_webhook\\]\nurl = "${url}"\ndevice_id = "66"`),
  );
  await chooseWebhook(layout, {});
  assert.equal(await externalWebhook(layout), undefined);
  for (const bad of ["", "8000", "ftp://a", "http://user:pass@a", "http://a/?token=x"])
    assert.equal((await refusal(chooseWebhook(layout, { url: bad }))).code, "usage");
});

test("a webhook that wants a token and whose key is pinned is asked that way by all, also one that an older start chose", async () => {
  const answerKey = publicKeyHex(await signingKey(join(folder, "answer.pem")));
  const tokenFile = join(folder, "token");
  await chooseWebhook(layout, { url, tokenFile, answerKey });
  assert.deepEqual(await externalWebhook(layout), { url, tokenFile, answerKey });
  const known = `url = "${url}"\nbearer_token_file = "${tokenFile}"\nanswer_keys = ["${answerKey}"]\n`;
  const webhook = await deploymentWebhook(layout);
  assert.ok(kmsToml(layout, webhook).includes(`[core.auth_api.webhook]\n${known}`));
  assert.ok(
    vmmToml(layout, { qemuPath: "q", teeSeedHex: "", token: "", webhook, deviceId: "66" }).includes(
      `[auth_webhook]\n${known}`,
    ),
  );
  await writeFile(tokenFile, "t0ken\n");
  answer = {};
  // This one signs nothing, so it is not believed.
  assert.match((await refusal(checkWebhook(webhook, "aabb", () => undefined))).message, /rule answer\.signed/);
  assert.equal(headers["authorization"], "Bearer t0ken");
  for (const bad of [{ url, answerKey: "00".repeat(32) }, { url, answerKey: "ab" }, { answerKey }, { tokenFile }])
    assert.equal((await refusal(chooseWebhook(layout, bad))).code, "usage");
  await writeFile(layout.authWebhook, `${url}\n`);
  assert.deepEqual(await externalWebhook(layout), { url });
  await chooseWebhook(layout, {});
});

test("its answer decides whether anything is created, and the policy file is left alone", async () => {
  await chooseWebhook(layout, { url });
  const { client, created } = fakeVmm();
  answer = {
    isAllowed: false,
    reason: "compose hash not allowed",
    gatewayAppId: "",
    rule: "apps.x.composeHashes",
    field: "composeHash",
  };
  asked.length = 0;
  const denied = await refusal(deploy(client, request));
  assert.equal(denied.code, "denied");
  assert.match(denied.message, /compose hash not allowed \(rule apps\.x\.composeHashes, field composeHash\)/);
  assert.match(denied.hint ?? "", new RegExp(`to allow it: dstack auth allow compose 0x[0-9a-f]{64} --app 0x${APP}$`));
  assert.equal((JSON.parse(asked[0]?.body ?? "{}") as { appId: string }).appId, APP);
  answer = undefined;
  const silent = await refusal(deploy(client, request));
  assert.equal(silent.code, "failed");
  assert.match(silent.hint ?? "", /--no-check/);
  assert.deepEqual(created, []);

  assert.equal((await deploy(client, { ...request, permission: { allow: true, check: false } })).plan.appId, APP);
  answer = { isAllowed: true, reason: "", gatewayAppId: "" };
  const { policyChanges } = await deploy(client, request);
  assert.deepEqual(policyChanges, []);
  assert.deepEqual(
    created.map(({ appId }) => appId),
    [APP, APP],
  );
  await assert.rejects(readFile(layout.authConfig), { code: "ENOENT" });
});

test("an app keeps its id: another one under its name is refused, whatever the policy says", async () => {
  const { client, created } = fakeVmm([{ name: "web", appId: "cd".repeat(20) }]);
  assert.equal((await refusal(deploy(client, request))).code, "usage");
  assert.deepEqual(created, []);
});

test("a file that nobody asks is not changed by mistake", async () => {
  await chooseWebhook(layout, { url });
  assert.equal((await refusal(selectBackend(cli, {}))).code, "usage");
  assert.ok(await selectBackend(cli, { config: join(folder, "other.json") }));
  await chooseWebhook(layout, {});
  assert.ok(await selectBackend(cli, {}));
});

test("a start says when nobody answers, and when the webhook trusts another gateway", async () => {
  answer = {};
  const notes: string[] = [];
  const note = (text: string): void => void notes.push(text);
  await checkWebhook({ url }, "aabb", note);
  assert.deepEqual(notes, []);
  await checkWebhook({ url }, "ccdd", note);
  assert.match(notes[0] ?? "", /does not trust this deployment's gateway.*dstack auth allow gateway 0xccdd/);
  answer = undefined;
  server.closeAllConnections();
  assert.equal((await refusal(checkWebhook({ url: "http://127.0.0.1:1" }, "aabb", note))).code, "failed");
});
