import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { cp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { withAppLock } from "../src/apps/apply/app-lock.ts";
import { deployPorts } from "../src/apps/plan/plan-ports.ts";
import { planDeployment, type PlanPorts } from "../src/apps/plan/plan.ts";
import type { AppRequest, DeployRequest, MachineRequest } from "../src/apps/plan/request.ts";
import { removeApp } from "../src/apps/rm.ts";
import { rollBackApp } from "../src/apps/rollback.ts";
import { runDeployment } from "../src/apps/apply/run-deployment.ts";
import { allowedVersions, localPolicy, readPolicyFile } from "../src/auth/policy-file.ts";
import { createCli, type Cli } from "../src/clients/cli.ts";
import type { VmmClient } from "../src/clients/vmm-client.ts";
import { CliError } from "../src/terminal/errors.ts";
import { runCli } from "../src/main.ts";
import { cleanUp, freePort, makeHost, startVmm, until, type TestVmm } from "../../services/vmm/test/vmm-process.ts";

const IMAGE = "dstack-0.6.0";
const folder = mkdtempSync(join(tmpdir(), "dstack-deploy-int-"));
let vmm: TestVmm;
let cli: Cli;
let env: NodeJS.ProcessEnv;
let ports: PlanPorts & { readonly say: (text: string) => void };
const said: string[] = [];

before(async () => {
  const host = makeHost();
  vmm = await startVmm(host);
  env = {
    ...process.env,
    XDG_STATE_HOME: join(folder, "state"),
    XDG_CACHE_HOME: join(folder, "cache"),
    // The VMM is the first port of a deployment.
    DSTACK_PORT_BASE: String(vmm.port),
  };
  cli = createCli(env, { json: () => undefined, print: () => undefined, say: (text) => void said.push(text) });
  await cp(join(host.dir, "images"), cli.layout.images, { recursive: true });
  ports = {
    ...(await deployPorts(withoutTee(await cli.vmm()), cli.layout)),
    say: cli.out.say,
    // A KMS is not part of this: the blob is opaque to the VMM.
    encrypt: async (_appId, pairs) => Buffer.from(JSON.stringify(pairs)),
  };
});
after(async () => {
  await vmm.endAll();
  await cleanUp();
  await rm(folder, { recursive: true });
});

/** The stand-ins of firmware and kernel cannot be measured, so no TEE is simulated. */
const withoutTee = (client: VmmClient): VmmClient => ({
  ...client,
  call: (method, request) =>
    client.call(method, method.name === "CreateVm" ? { ...request, simulatedTee: undefined, noTee: true } : request),
});

function requestFor(
  version: string,
  { app, machine }: { app?: Partial<AppRequest>; machine?: Partial<MachineRequest> } = {},
): DeployRequest {
  const composeFile = join(folder, `${version}.yaml`);
  writeFileSync(composeFile, `services:\n  a:\n    image: busybox@sha256:${version.repeat(64)}\n`);
  return {
    app: {
      name: "web",
      composeFile,
      appId: undefined,
      environment: undefined,
      dropEnvironment: false,
      secureTime: undefined,
      storageFs: undefined,
      publicLogs: undefined,
      allowMutable: false,
      ...app,
    },
    machine: {
      image: IMAGE,
      vcpu: undefined,
      memoryMib: undefined,
      diskGib: undefined,
      ports: undefined,
      dropPorts: false,
      ...machine,
    },
    permission: { allow: true, check: true },
  };
}

const deploy = (request: DeployRequest, wait = true): Promise<void> =>
  runDeployment(cli, request, ports, {
    wait,
    rollback: true,
    output: "json",
    signal: new AbortController().signal,
    progress: { phase: (_name, work) => work(() => undefined), phasesMs: {} },
  });

const refusal = async (work: Promise<unknown>): Promise<CliError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof CliError, String(error));
  return error;
};

const web = async () => {
  const vm = await ports.vmm.find("web");
  const { composeFile = "", encryptedEnv, vcpu, ports: mapped } = vm.configuration ?? {};
  return {
    ...vm,
    image: /sha256:(.)/.exec(composeFile)?.[1],
    env: Buffer.from(encryptedEnv ?? []).toString(),
    vcpu,
    hostPorts: (mapped ?? []).map(({ hostPort }) => hostPort),
  };
};
const allowed = async (appId: string): Promise<number> =>
  allowedVersions(await readPolicyFile(localPolicy(cli.layout).path), appId).length;

/** From the next boot on the guest refuses, or boots again. */
const guest = async (mode: "refuse" | "boot"): Promise<void> => {
  const { id } = await web();
  writeFileSync(join(vmm.dir, "vm", id, "shared/.user-config"), JSON.stringify({ mode }));
};

test("an app is deployed, updated, put back when refused, rolled back and removed by a real VMM", async () => {
  const port = await freePort();
  await deploy(
    requestFor("0", {
      app: { environment: [{ key: "TOKEN", value: "s" }] },
      machine: {
        vcpu: 3,
        memoryMib: 1024,
        diskGib: 1,
        ports: [{ protocol: "tcp", hostAddress: "", hostPort: port, vmPort: 80 }],
      },
    }),
  );
  const first = await web();
  assert.deepEqual([first.image, first.vcpu, first.hostPorts, first.status], ["0", 3, [port], "running"]);

  await deploy(requestFor("1"));
  const second = await web();
  assert.deepEqual([second.image, second.vcpu, second.hostPorts], ["1", 3, [port]]);
  assert.equal(second.env, first.env);
  assert.equal(second.appId, first.appId);
  assert.equal(await allowed(first.appId), 1);

  const taken = await freePort();
  await guest("refuse");
  const error = await refusal(
    deploy(
      requestFor("2", {
        machine: { vcpu: 1, ports: [{ protocol: "tcp", hostAddress: "", hostPort: taken, vmPort: 1 }] },
      }),
    ),
  );
  assert.equal(error.exitCode, 1);
  assert.match(error.message, /KMS refused/);
  assert.match(error.hint ?? "", /the version of web that was there before is back and starts again/);
  const back = await web();
  assert.deepEqual([back.image, back.vcpu, back.hostPorts, back.env], ["1", 3, [port], first.env]);
  assert.equal(await allowed(first.appId), 1);
});

test("a version that ran is rolled back by its command, and forth again", async () => {
  await guest("boot");
  await deploy(requestFor("3"));
  const { image } = await web();
  assert.equal(image, "3");
  const { replaced } = await rollBackApp("web", ports);
  assert.equal((await web()).image, "1");
  assert.equal(await allowed((await web()).appId), 2);
  assert.notEqual(replaced, undefined);
  assert.equal(await runCli(["rollback", "web"], env), 0);
  assert.equal((await web()).image, "3");
  assert.equal(await allowed((await web()).appId), 1);
});

test("an update that nobody waited for is ended by wait, and by nothing else", async () => {
  await deploy(requestFor("5"), false);
  const { appId } = await web();
  assert.equal(await allowed(appId), 2);
  assert.equal(await runCli(["wait", "web"], env), 0);
  assert.equal(await allowed(appId), 1);
  assert.equal((await web()).image, "5");
});

test("two deployments of one name at once make one app, and the second is told of the first", async () => {
  const at = (version: string): Promise<void> =>
    withAppLock(cli.layout, "race", () => deploy(requestFor(version, { app: { name: "race" } }), false));
  const outcomes = await Promise.allSettled([at("6"), at("7")]);
  const [refused] = outcomes.filter((outcome) => outcome.status === "rejected");
  assert.match(String(refused?.reason), new RegExp(`race is being deployed or changed by process ${process.pid}`));
  const made = (await ports.vmm.list()).filter(({ name }) => name === "race");
  assert.equal(made.length, 1);
  await removeApp(ports, "race");
  // The VMM removes it in its own time, and the next test looks at everything that it has.
  await until("removal", async () => ((await ports.vmm.list()).some(({ name }) => name === "race") ? undefined : true));
});

test("a plan leaves VMM and policy as they are, and a dry run prints it", async () => {
  const before = JSON.stringify([await vmm.rpc("Status"), await readPolicyFile(localPolicy(cli.layout).path)]);
  const plan = await planDeployment(requestFor("4"), ports);
  assert.equal(plan.existing?.status, "running");
  assert.equal(await runCli(["deploy", "-c", join(folder, "4.yaml"), "-n", "web", "--dry-run"], env), 0);
  assert.equal(await runCli(["deploy", "-c", join(folder, "4.yaml"), "-n", "web", "--dry-run", "--no-allow"], env), 3);
  const uptime = /"uptime":"[^"]*"/g;
  assert.equal(
    JSON.stringify([await vmm.rpc("Status"), await readPolicyFile(localPolicy(cli.layout).path)]).replace(uptime, ""),
    before.replace(uptime, ""),
  );
});

test("rm removes the VM and what its deployments allowed", async () => {
  const { appId, id } = await web();
  await removeApp(ports, "web");
  await until("removal", async () => ((await ports.vmm.list()).some((vm) => vm.id === id) ? undefined : true));
  assert.deepEqual((await readPolicyFile(localPolicy(cli.layout).path)).apps, {});
  assert.equal(await allowed(appId), 0);
});
