import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { toHex } from "@dstack/bytes";
import { buildAppCompose } from "@dstack/compose";
import { readImageDirectory } from "@dstack/image";
import { run } from "@dstack/process";
import {
  allowVersion,
  changePolicyFile,
  DEVELOPMENT_DEVICE_ID,
  getThroughGateway,
  localPolicy,
  vmmMethods,
  waitForAnswer,
  waitForBoot,
} from "@dstack/cli/testing";
import { cannotBoot, createDeployment, IMAGE, type Deployment } from "./deployment.ts";

const skip = cannotBoot() ?? false;
const COMPOSE = join(import.meta.dirname, "app/docker-compose.yaml");
// Never on a command line of the deployment's own processes, in a log or in a file of the host.
const SECRET = `canary-${randomBytes(12).toString("hex")}`;

let deployment: Deployment;
let appId = "";
let url = "";

interface Vm {
  readonly id: string;
  readonly status: string;
  readonly boot_error: string;
  readonly boot_progress: string;
  readonly app_id: string;
  readonly configuration: { readonly compose_file: string };
}

const info = async (app: string): Promise<Vm> =>
  JSON.parse((await deployment.cli("info", app, "-o", "json")).stdout) as Vm;
const caFile = (): string => `${deployment.layout.caFolder}/ca.crt`;
const get = (address: string): ReturnType<typeof getThroughGateway> =>
  getThroughGateway({ url: new URL(address), caFile: caFile(), timeoutMs: 20_000 });
const visits = (body: string): number => Number(/visits: (\d+)/.exec(body)?.[1]);

async function until<T>(what: string, withinMs: number, probe: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${withinMs / 1000} s`);
    await sleep(500);
  }
}

before(async () => {
  if (skip !== false) return;
  deployment = await createDeployment(23_100);
  await deployment.start();
});
after(async () => {
  if (skip === false) await deployment.stop();
});

test("an ordinary compose file becomes an app that answers through the gateway", { skip }, async () => {
  const { code, stdout, stderr } = await deployment.cli(
    "deploy",
    "-c",
    COMPOSE,
    "-n",
    "app",
    "-e",
    `GREETING_SECRET=${SECRET}`,
    "-o",
    "json",
  );
  assert.equal(code, 0, stderr);
  const summary = JSON.parse(stdout) as { app_id: string; compose_hash: string; url: string };
  appId = summary.app_id;
  url = summary.url;
  assert.equal(appId, summary.compose_hash.slice(0, 40));
  const answer = await get(url);
  assert.equal(answer.status, 200);
  assert.match(answer.body, /Hello from a confidential VM/);
});

test("the app, and only the app, sees the secret (SECURITY #556, #606)", { skip }, async () => {
  assert.ok((await get(url)).body.includes(createHash("sha256").update(SECRET).digest("hex")));
  const { stdout } = await run("grep", ["-rlaF", "--exclude=hda.img", SECRET, deployment.layout.state], {
    okCodes: [0, 1, 2],
  });
  assert.equal(stdout, "", "the secret lies in a file of the host");
  const { stdout: disk } = await run("grep", ["-rlaF", SECRET, deployment.layout.vmmFolder], { okCodes: [0, 1, 2] });
  assert.equal(disk, "", "the secret lies on a disk in the clear");
});

test("passthrough brings the bytes to the app untouched", { skip }, async () => {
  const name = `${appId}-7000s.dstack.localhost`;
  const hello = clientHello(name);
  const echoed = await new Promise<Buffer>((resolve, reject) => {
    const socket = connect(deployment.layout.ports.proxy, "127.0.0.1", () => socket.write(hello));
    let received: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length >= hello.length) {
        socket.destroy();
        resolve(received);
      }
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`closed after ${received.length} of ${hello.length} bytes`)));
    socket.setTimeout(20_000, () => socket.destroy(new Error("no echo")));
  });
  assert.deepEqual(echoed, hello);
});

test("verify checks the whole chain, and fails by name against another root of trust", { skip }, async () => {
  const good = await deployment.cli("verify", "app", "-o", "json");
  const result = JSON.parse(good.stdout) as {
    ok: boolean;
    environment: string;
    checks: { name: string; result: string; reason: string }[];
  };
  assert.equal(good.code, 0, good.stdout);
  const outcome = new Map(result.checks.map((check) => [check.name, check.result]));
  for (const name of [
    "report-data",
    "rtmr3-replay",
    "os-image",
    "firmware",
    "virtual-hardware",
    "kernel",
    "command-line-and-initrd",
    "compose-hash",
    "app-id",
    "kms-identity",
    "tcb",
    "mr-config-id",
  ]) {
    assert.equal(
      outcome.get(name),
      "pass",
      `${name}: ${JSON.stringify(result.checks.find((check) => check.name === name))}`,
    );
  }
  assert.equal(outcome.get("kms-evidence"), "not applicable");
  assert.equal(outcome.get("root-of-trust"), "not bound");
  assert.equal(result.environment, "development");
  assert.ok(result.checks.every((check) => check.reason !== ""));
  const foreignKms = await deployment.cli("verify", url, "--kms-ca", caFile(), "-o", "json");
  assert.equal(foreignKms.code, 3);
  assert.equal(
    (JSON.parse(foreignKms.stdout) as typeof result).checks.find((check) => check.name === "kms-identity")?.result,
    "fail",
  );
});

test(
  "a saved bundle gives the same verdict from the file alone; KMS and gateway outside a TEE verify as neither",
  { skip },
  async () => {
    const bundle = join(deployment.layout.state, "app.bundle.json");
    assert.equal((await deployment.cli("verify", url, "--save", bundle)).code, 0);
    const judged = await deployment.cli("verify", bundle);
    assert.equal(judged.code, 0, judged.stdout);
    for (const expected of [/What runs here/, /image +\S+: \S+/, /freshness +as of/])
      assert.match(judged.stdout, expected);
    const kms = await deployment.cli("verify", "kms", `https://127.0.0.1:${deployment.layout.ports.kms}`);
    assert.equal(kms.code, 3);
    assert.match(kms.stdout, /FAIL +evidence +the certificate of the KMS carries no evidence/);
    const gateway = await deployment.cli(
      "verify",
      "gateway",
      `https://gateway.dstack.localhost:${deployment.layout.ports.proxy}`,
    );
    assert.equal(gateway.code, 3);
    assert.match(gateway.stdout, /served-key +key \S+ is served and listed without a quote/);
  },
);

test("a running app is found again after the VMM and the supervisor were killed", { skip }, async () => {
  deployment.kill("vmm");
  await until("VMM gone", 10_000, async () => ((await deployment.cli("apps")).code === 1 ? true : undefined));
  await deployment.services.startVmm();
  assert.equal((await info("app")).status, "running");
  assert.equal((await get(url)).status, 200);
  const pid = Number(await readFile(join(deployment.layout.vmmFolder, "supervisor.pid"), "utf8"));
  process.kill(pid, "SIGKILL");
  deployment.kill("vmm");
  await sleep(500);
  await deployment.services.startVmm();
  assert.equal((await get(url)).status, 200, "the guest outlives its supervisor");
  assert.equal((await info("app")).status, "running");
});

test("after stop and start data and keys are the same; KMS and gateway may come later", { skip }, async () => {
  const before = visits((await get(url)).body);
  const keyBefore = await appKey();
  assert.equal((await deployment.cli("stop", "app")).code, 0);
  assert.equal((await info("app")).status, "stopped");
  deployment.kill("kms");
  deployment.kill("gateway");
  assert.equal((await deployment.cli("start", "app")).code, 0);
  await until("the guest says that it waits for the KMS", 120_000, async () =>
    /KMS/i.test((await deployment.cli("logs", "app")).stdout.split("requesting app keys").at(-1) ?? "")
      ? true
      : undefined,
  );
  await deployment.services.startKms();
  await until("the app starts without a gateway", 240_000, async () =>
    (await info("app")).boot_progress === "done" ? true : undefined,
  );
  await deployment.services.startGateway();
  const answer = await waitForAnswer(url, caFile(), { timeoutMs: 180_000, note: () => undefined });
  assert.ok(visits(answer.body) > before, `${before} visits before, now: ${answer.body}`);
  assert.equal(await appKey(), keyBefore);
});

test(
  "inside a guest the agent's socket answers every call, and keeps boot events to itself (DS #1266, V2 event log)",
  { skip },
  async () => {
    const calls = [
      ["Version", {}],
      ["Info", {}],
      ["GetKey", { path: "a", purpose: "b" }],
      ["GetTlsKey", { subject: "s", usage_ra_tls: true, usage_server_auth: true }],
      ["GetQuote", { report_data: "00" }],
      ["Attest", { report_data: "00" }],
      ["EmitEvent", { event: "mine", payload: "00" }],
      ["EmitEvent", { event: "app-id", payload: "00" }],
    ] as const;
    const program = `
    const { request } = require("node:http");
    const ask = (method, body) => new Promise((resolve, reject) => {
      const outgoing = request({ socketPath: "/var/run/dstack.sock", path: "/" + method, method: "POST", headers: { "content-type": "application/json" } }, (answer) => {
        let text = "";
        answer.on("data", (chunk) => (text += chunk)).on("end", () => resolve(answer.statusCode + " " + text.length));
      });
      outgoing.on("error", reject).end(JSON.stringify(body));
    });
    (async () => {
      for (const [method, body] of ${JSON.stringify(calls)}) console.log("agent-socket", method, body.event ?? "", await ask(method, body));
    })();`;
    const manifest = buildAppCompose({
      name: "agent",
      dockerComposeFile: "services:\n  idle:\n    image: dstack/hello:latest\n    stop_grace_period: 1s\n",
      preLaunchScript: `node -e '${program}' > /dev/console`,
      gatewayEnabled: false,
      secureTime: false,
      storageFs: "ext4",
    });
    const { layout } = deployment;
    const client = await deployment.context.vmm();
    const composeHash = toHex(manifest.composeHash);
    const osImageHash = toHex((await readImageDirectory(join(layout.images, IMAGE))).osImageHash ?? new Uint8Array());
    await changePolicyFile(localPolicy(layout), (policy) =>
      allowVersion(policy, {
        osImageHash,
        deviceId: DEVELOPMENT_DEVICE_ID,
        appId: composeHash.slice(0, 40),
        composeHash,
      }),
    );
    const { id } = await client.call(vmmMethods.createVm, {
      name: "agent",
      image: IMAGE,
      composeFile: new TextDecoder().decode(manifest.bytes),
      vcpu: 2,
      memory: 2048,
      diskSize: 5,
      simulatedTee: "dstack-tdx",
    });
    await waitForBoot(client, id, { timeoutMs: 240_000, note: () => undefined });
    const { stdout } = await deployment.cli("logs", "agent", "--lines", "5000");
    const answers = [...stdout.matchAll(/agent-socket (\w+) (\S*) ?(\d+) (\d+)/g)].map(
      ([, method, event, status, length]) => ({ method, event, status, length: Number(length) }),
    );
    assert.deepEqual(
      answers.map(({ method, event, status }) => `${method} ${event} ${status}`),
      [
        "Version  200",
        "Info  200",
        "GetKey  200",
        "GetTlsKey  200",
        "GetQuote  200",
        "Attest  200",
        "EmitEvent mine 200",
        "EmitEvent app-id 400",
      ],
    );
    for (const { method, length } of answers.filter(({ method }) => method === "GetQuote" || method === "Attest"))
      assert.ok(length > 2_000, `${method}: ${length}`);
    assert.equal((await deployment.cli("rm", "agent")).code, 0);
  },
);

test("one changed byte of the compose file is refused once, and the reason is everywhere", { skip }, async () => {
  assert.equal((await deployment.cli("stop", "app")).code, 0);
  const { id } = await info("app");
  const path = join(deployment.layout.vmmFolder, "vm", id, "shared/app-compose.json");
  const original = await readFile(path);
  await writeFile(path, original.toString("utf8").replace('"name": "app"', '"name": "apq"'));
  await deployment.cli("start", "app");
  const refused = await until("refusal", 180_000, async () => {
    const vm = await info("app");
    return vm.boot_error !== "" && vm.status !== "running" ? vm : undefined;
  });
  for (const [where, text] of [
    ["info", refused.boot_error],
    ["logs", (await deployment.cli("logs", "app")).stderr],
    ["the KMS's log", await readFile(join(deployment.layout.logs, "kms.log"), "utf8")],
  ] as const) {
    assert.match(text, /compose hash not allowed/, where);
  }
  await sleep(25_000);
  assert.notEqual((await info("app")).status, "running", "a refused boot is not tried again");
  await writeFile(path, original);
});

test(
  "an update whose image cannot be pulled names it, and the version that was there comes back",
  { skip },
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "dstack-pull-"));
    t.after(() => rm(folder, { recursive: true }));
    const image = `dstack/none@sha256:${"0".repeat(64)}`;
    const path = join(folder, "docker-compose.yaml");
    await writeFile(path, `services:\n  web:\n    image: ${image}\n`);
    const before = (await info("app")).configuration.compose_file;
    const { code, stderr } = await deployment.cli("deploy", "-c", path, "-n", "app");
    assert.equal(code, 1, stderr);
    assert.ok(stderr.includes(image), stderr);
    assert.match(stderr, /the version of app that was there before is back/);
    const back = await info("app");
    assert.equal(back.configuration.compose_file, before);
    // Its last boot was refused, which nobody wanted: the version that is back is started, and boots.
    await until("the version that is back runs", 120_000, async () =>
      (await info("app")).status === "running" ? true : undefined,
    );
    assert.equal((await deployment.cli("stop", "--force", "app")).code, 0);
  },
);

test("a swapped initrd is refused by its measurement", { skip }, async () => {
  await appendFile(join(deployment.layout.images, IMAGE, "initramfs.cpio.gz"), Buffer.alloc(4096));
  await deployment.cli("start", "app");
  const refused = await until("refusal", 180_000, async () => {
    const vm = await info("app");
    return vm.boot_error !== "" && vm.status !== "running" ? vm : undefined;
  });
  assert.match(refused.boot_error, /RTMR2/);
  assert.match(await readFile(join(deployment.layout.logs, "kms.log"), "utf8"), /RTMR2/);
});

test("bad input is refused by name, and nothing is deployed", { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "dstack-bad-"));
  t.after(() => rm(folder, { recursive: true }));
  const deploy = async (yaml: string, ...args: string[]): Promise<{ code: number; stderr: string }> => {
    const path = join(folder, "docker-compose.yaml");
    await writeFile(path, yaml);
    return deployment.cli("deploy", "-c", path, "-n", "bad", "--no-wait", ...args);
  };
  const good = await readFile(COMPOSE, "utf8");
  const listener = await listen();
  t.after(() => listener.close());
  const taken = (listener.address() as { port: number }).port;
  for (const [what, yaml, args, text] of [
    ["invalid YAML", "services: [", [], /YAML/],
    ["no services", "volumes: {}\n", [], /services/],
    ["an image that cannot be resolved", "services:\n  a:\n    image: dstack/none:1\n", [], /dstack\/none:1/],
    ["an unknown guest image", good, ["--image", "dstack-9.9.9"], /dstack-9\.9\.9/],
    ["a hostile image name", good, ["--image", "../../etc"], /image name/],
    ["a port that is taken", good, ["-p", `${taken}:80`], new RegExp(String(taken))],
    ["too little memory", good, ["--memory", "64M"], /memory/i],
    ["zfs on an image without it", good, ["--storage-fs", "zfs"], /zfs/],
    ["10 MB of compose file", `${good}#${"x".repeat(10_000_000)}`, [], /bytes/],
  ] as const) {
    const { code, stderr } = await deploy(yaml, ...args);
    assert.notEqual(code, 0, what);
    assert.match(stderr, text, what);
  }
  const control = await deployment.cli("deploy", "-c", COMPOSE, "-n", "a\u001b[31mb", "--no-wait");
  assert.notEqual(control.code, 0);
  assert.ok(!control.stderr.includes("\u001b"), "control characters are shown, not obeyed");
  assert.ok(!(await deployment.cli("apps")).stdout.includes("bad"));
});

/** The app's own derived key as the guest attests it, with the instance id. */
async function appKey(): Promise<string> {
  const agent = `https://${appId}-8090.dstack.localhost:${deployment.layout.ports.proxy}/prpc`;
  const attested = await get(`${agent}/Worker.GetAttestationForAppKey?algorithm=ed25519`);
  assert.equal(attested.status, 200, attested.body);
  const reportData = Buffer.from((JSON.parse(attested.body) as { report_data: string }).report_data, "hex").toString(
    "latin1",
  );
  assert.match(reportData, /^dip1::ed25519-pk:[\w-]{43}/);
  const { instance_id: instance } = JSON.parse((await get(`${agent}/Worker.Info?json`)).body) as {
    instance_id: string;
  };
  return `${instance} ${reportData}`;
}

function listen(): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server));
  });
}

/** A ClientHello record with nothing but a server name: enough for routing. */
function clientHello(name: string): Buffer {
  const host = Buffer.from(name);
  const sni = Buffer.concat([u16(0), u16(host.length + 5), u16(host.length + 3), Buffer.of(0), u16(host.length), host]);
  const body = Buffer.concat([
    Buffer.of(3, 3),
    randomBytes(32),
    Buffer.of(0),
    u16(2),
    u16(0x1301),
    Buffer.of(1, 0),
    u16(sni.length),
    sni,
  ]);
  const handshake = Buffer.concat([Buffer.of(1, 0), u16(body.length), body]);
  return Buffer.concat([Buffer.of(22, 3, 1), u16(handshake.length), handshake]);
}

function u16(value: number): Buffer {
  const out = Buffer.alloc(2);
  out.writeUInt16BE(value);
  return out;
}
