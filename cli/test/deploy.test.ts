import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { planDeployment } from "../src/apps/plan/plan.ts";
import { exitCodeOf, planJson, planText } from "../src/apps/plan/plan-text.ts";
import type { AppRequest, DeployRequest, MachineRequest, PermissionRequest } from "../src/apps/plan/request.ts";
import { removeApp } from "../src/apps/rm.ts";
import { setEnvironment } from "../src/apps/env-set.ts";
import { rollBackApp } from "../src/apps/rollback.ts";
import { runDeployment } from "../src/apps/apply/run-deployment.ts";
import { withAppLock } from "../src/apps/apply/app-lock.ts";
import { createCli } from "../src/clients/cli.ts";
import { CliError } from "../src/terminal/errors.ts";
import type { Progress } from "../src/terminal/progress.ts";
import { allowed, fakeHost, hashOf, type FakeHost, type FakeVm } from "./fake-host.ts";

const folder = await mkdtemp(join(tmpdir(), "dstack-deploy-"));
after(() => rm(folder, { recursive: true }));

/** Versions of an app, told apart by the digest of their image. */
async function composeFile(version: string): Promise<string> {
  const path = join(folder, `${version}.yaml`);
  await writeFile(path, `services:\n  a:\n    image: busybox@sha256:${version.repeat(64)}\n`);
  return path;
}

const QUIET: Progress = { phase: (_name, work) => work(() => undefined), phasesMs: {} };

interface Given {
  readonly app?: Partial<AppRequest>;
  readonly machine?: Partial<MachineRequest>;
  readonly permission?: Partial<PermissionRequest>;
  readonly wait?: boolean;
  readonly rollback?: boolean;
}

async function requestFor(version: string, { app, machine, permission }: Given): Promise<DeployRequest> {
  return {
    app: {
      name: "web",
      composeFile: await composeFile(version),
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
      image: undefined,
      vcpu: undefined,
      memoryMib: undefined,
      diskGib: undefined,
      ports: undefined,
      dropPorts: false,
      ...machine,
    },
    permission: { allow: true, check: true, ...permission },
  };
}

let host: FakeHost;
let out: { summary: Record<string, unknown>; said: string[] };
beforeEach(() => {
  host = fakeHost();
  out = { summary: {}, said: [] };
});

async function deploy(version: string, given: Given = {}, signal = new AbortController().signal): Promise<void> {
  const cli = createCli(
    { XDG_STATE_HOME: join(folder, "state") },
    {
      json: (value) => void (out.summary = value as Record<string, unknown>),
      print: () => undefined,
      say: (text) => void out.said.push(text),
    },
  );
  host.log.length = 0;
  const { wait = true, rollback = true } = given;
  await runDeployment(cli, await requestFor(version, given), host, {
    wait,
    rollback,
    output: "json",
    signal,
    progress: QUIET,
  });
}

const refusal = async (work: Promise<unknown>): Promise<CliError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof CliError, String(error));
  return error;
};
const only = (): FakeVm => {
  assert.equal(host.vms.length, 1);
  return host.vms[0] as FakeVm;
};
const short = (hash: string): string => hash.slice(0, 8);
const port = (hostPort: number, vmPort: number) =>
  ({ protocol: "tcp", hostAddress: "127.0.0.1", hostPort, vmPort }) as const;

describe("a first deployment", () => {
  test("allows the version before the VM that needs it is made", async () => {
    await deploy("0");
    const { composeFile: text, appId } = only();
    assert.deepEqual(host.log, [`policy + ${short(hashOf(text))}`, "CreateVm"]);
    assert.deepEqual(allowed(host, appId), [hashOf(text)]);
    assert.equal(appId, hashOf(text).slice(0, 40));
    assert.deepEqual(
      [out.summary["app_id"], out.summary["compose_hash"], out.summary["updated"], out.summary["url"]],
      [appId, hashOf(text), false, null],
    );
  });

  test("that the VMM refuses leaves nothing allowed", async () => {
    host.failing.set("CreateVm", "not enough memory");
    const error = await refusal(deploy("0"));
    assert.match(error.hint ?? "", /nothing was deployed/);
    assert.equal((error.cause as Error).message, "not enough memory");
    assert.deepEqual(host.policyDocument.apps, {});
    assert.deepEqual(host.vms, []);
  });

  test("whose boot is refused stays allowed, since its VM exists, and names the command that removes it", async () => {
    host.boot = () => "refused";
    const error = await refusal(deploy("0"));
    assert.equal(error.code, "denied");
    assert.match(error.hint ?? "", /dstack logs web.*to remove it: dstack rm web/);
    assert.deepEqual(allowed(host, only().appId), [hashOf(only().composeFile)]);
  });

  test("that the policy would refuse makes nothing", async () => {
    const error = await refusal(deploy("0", { permission: { allow: false } }));
    assert.equal(error.code, "denied");
    assert.match(error.message, /OS image is not allowed \(rule osImages, field osImageHash\)/);
    assert.deepEqual(host.log, []);
  });

  test("does not change a policy that others keep", async () => {
    host = fakeHost({ isOurs: false });
    await deploy("0", { permission: { check: false } });
    assert.deepEqual(host.log, ["CreateVm"]);
    assert.deepEqual(host.policyDocument, {});
  });
});

describe("an update", () => {
  let first: FakeVm;
  let v0: string;
  beforeEach(async () => {
    await deploy("0", {
      app: { environment: [{ key: "TOKEN", value: "secret" }] },
      machine: { ports: [port(8080, 80)], vcpu: 4, memoryMib: 4096 },
    });
    first = only();
    v0 = hashOf(first.composeFile);
  });

  test("allows the new version beside the old one, and withdraws the old one once the new one runs", async () => {
    await deploy("1");
    const v1 = hashOf(first.composeFile);
    assert.notEqual(v1, v0);
    assert.deepEqual(host.log, [`policy + ${short(v1)}`, "UpdateVm", "ShutdownVm", "StartVm", `policy - ${short(v0)}`]);
    assert.deepEqual(allowed(host, first.appId), [v1]);
    assert.equal(out.summary["updated"], true);
  });

  test("keeps variables, ports and sizes that it was not given, and says so", async () => {
    await deploy("1");
    assert.deepEqual([first.vcpu, first.memory, first.diskSize, first.ports], [4, 4096, 10, [port(8080, 80)]]);
    assert.match(Buffer.from(first.encryptedEnv).toString(), /TOKEN=secret/);
    assert.deepEqual((JSON.parse(first.composeFile) as { allowed_envs: string[] }).allowed_envs, ["TOKEN"]);
    const kept = out.said.find((line) => line.includes("not given, so kept")) ?? "";
    for (const text of [
      "4 vCPU",
      "4096 MiB memory",
      "10 GiB disk",
      "port tcp 127.0.0.1:8080 -> 80",
      "environment TOKEN",
    ])
      assert.ok(kept.includes(text), `${text}: ${kept}`);
  });

  test("changes what it is given: a size on a stopped VM, a port beside those that are there", async () => {
    await deploy("1", {
      machine: { vcpu: 2, ports: [port(9090, 90)] },
      app: { environment: [{ key: "TOKEN", value: "new" }] },
    });
    assert.deepEqual([first.vcpu, first.memory], [2, 4096]);
    assert.deepEqual(
      first.ports.map(({ hostPort }) => hostPort),
      [8080, 9090],
    );
    assert.match(Buffer.from(first.encryptedEnv).toString(), /TOKEN=new/);
    assert.deepEqual(host.log.slice(1, 4), ["ShutdownVm", "UpdateVm", "StartVm"]);
    await deploy("1", { machine: { ports: [port(9090, 91)], dropPorts: true } });
    assert.deepEqual(first.ports, [port(9090, 91)]);
  });

  test("that would unset a variable is refused, and done when told to", async () => {
    const given = { app: { environment: [{ key: "OTHER", value: "x" }] } };
    const error = await refusal(deploy("1", given));
    assert.equal(error.code, "usage");
    assert.match(error.message, /TOKEN of web would be unset/);
    assert.deepEqual(host.log, []);
    await deploy("1", { app: { ...given.app, dropEnvironment: true } });
    assert.match(Buffer.from(first.encryptedEnv).toString(), /:OTHER=x$/);
    await deploy("1", { app: { dropEnvironment: true } });
    assert.deepEqual((JSON.parse(first.composeFile) as { allowed_envs: string[] }).allowed_envs, []);
  });

  test("that changes nothing stops nothing", async () => {
    await deploy("0");
    assert.deepEqual(host.log, []);
    assert.equal(first.status, "running");
  });

  test("that gives a port again without its address, which the VMM chose, stops nothing", async () => {
    await deploy("0", { machine: { ports: [port(9090, 90)] } });
    await deploy("0", { machine: { ports: [{ ...port(8080, 80), hostAddress: "" }] } });
    assert.deepEqual(host.log, []);
    assert.deepEqual(first.ports, [port(8080, 80), port(9090, 90)]);
  });

  test("that the VMM refuses leaves the version that runs running and allowed, and it alone", async () => {
    host.failing.set("UpdateVm", "host port mapping conflicts with VM x: tcp 127.0.0.1:8080");
    const error = await refusal(deploy("1"));
    assert.match(error.hint ?? "", /web is the version that it was/);
    assert.equal(first.status, "running");
    assert.deepEqual(allowed(host, first.appId), [v0]);
  });

  test("that the VMM refuses after the VM had to be stopped starts the old version again", async () => {
    host.failing.set("UpdateVm", "no");
    await refusal(deploy("1", { machine: { vcpu: 1 } }));
    assert.equal(first.status, "running");
    assert.equal(hashOf(first.composeFile), v0);
    assert.deepEqual(allowed(host, first.appId), [v0]);
  });

  test("whose VM cannot be stopped says that the old version runs and how to go on", async () => {
    host.failing.set("ShutdownVm", "no").set("StopVm", "no");
    const error = await refusal(deploy("1"));
    assert.match(error.hint ?? "", /the old version still runs.*dstack stop -f web.*dstack rollback web/);
    assert.deepEqual(allowed(host, first.appId).toSorted(), [v0, hashOf(first.composeFile)].toSorted());
  });

  test("whose policy cannot be written changes nothing", async () => {
    host.failing.set("policy", "disk full");
    const error = await refusal(deploy("1"));
    assert.match(error.hint ?? "", /web is the version that it was/);
    assert.deepEqual(host.log, []);
    assert.equal(hashOf(first.composeFile), v0);
  });

  for (const outcome of ["refused", "ended"] as const)
    test(`whose boot ${outcome === "refused" ? "is refused" : "ends"} puts the version back that ran, with its size, and fails`, async () => {
      host.boot = (vm) => (hashOf(vm.composeFile) === v0 ? "done" : outcome);
      const error = await refusal(deploy("1", { machine: { vcpu: 1, ports: [port(9090, 90)] } }));
      assert.equal(error.exitCode, 1);
      assert.match(error.hint ?? "", /the version of web that was there before is back and starts again/);
      assert.equal(hashOf(first.composeFile), v0);
      assert.deepEqual([first.vcpu, first.ports, first.status], [4, [port(8080, 80)], "running"]);
      assert.deepEqual(allowed(host, first.appId), [v0]);
    });

  test("whose boot is refused leaves a VM stopped that was stopped", async () => {
    first.status = "stopped";
    host.boot = () => "refused";
    const error = await refusal(deploy("1"));
    assert.match(error.hint ?? "", /is back$/);
    assert.deepEqual([first.status, hashOf(first.composeFile)], ["stopped", v0]);
  });

  test("whose boot is refused starts a VM again that had ended by itself", async () => {
    first.status = "exited";
    host.boot = (vm) => (hashOf(vm.composeFile) === v0 ? "done" : "refused");
    const error = await refusal(deploy("1"));
    assert.match(error.hint ?? "", /is back and starts again$/);
    assert.deepEqual([first.status, hashOf(first.composeFile)], ["running", v0]);
  });

  test("whose boot is refused stays in place with --no-rollback, and names the command that goes back", async () => {
    host.boot = () => "refused";
    const error = await refusal(deploy("1", { rollback: false }));
    assert.equal(error.code, "denied");
    assert.match(error.hint ?? "", /to go back: dstack rollback web/);
    assert.notEqual(hashOf(first.composeFile), v0);
    assert.deepEqual(allowed(host, first.appId), [v0, hashOf(first.composeFile)]);
  });

  test("that cannot be started is put back as one that does not boot", async () => {
    host.failing.set("StartVm", "no KVM");
    const error = await refusal(deploy("1"));
    assert.match(error.hint ?? "", /starting the VM failed too/);
    assert.equal(hashOf(first.composeFile), v0);
  });

  test("that cannot be put back says what is left and how to try again", async () => {
    host.boot = (vm) => (hashOf(vm.composeFile) === v0 ? "done" : "refused");
    host.failing.set("rollback", "no space left");
    const error = await refusal(deploy("1"));
    assert.equal(error.exitCode, 1);
    assert.match(
      error.hint ?? "",
      /putting the earlier version back failed too \(no space left\).*dstack rollback web/,
    );
    assert.deepEqual(allowed(host, first.appId), [v0, hashOf(first.composeFile)]);
  });

  test("puts nothing back where the VMM keeps another version than the one that ran", async () => {
    host.boot = (vm) => {
      vm.previous = undefined;
      return "refused";
    };
    const error = await refusal(deploy("1"));
    assert.match(error.hint ?? "", /failed too \(the VMM keeps version \(none\) of it, not [0-9a-f]{64}\)/);
    assert.ok(!host.log.includes("rollback"));
  });

  test("never puts back a version that did not run before it", async () => {
    await deploy("1");
    const v1 = hashOf(first.composeFile);
    host.boot = () => "refused";
    // The machine alone changes, so what the VMM keeps is older than what ran.
    const error = await refusal(deploy("1", { machine: { vcpu: 1 } }));
    assert.match(error.hint ?? "", /is back/);
    assert.equal(hashOf(first.composeFile), v1);
    assert.equal(first.vcpu, 4);
  });

  test("that does not wait keeps both versions allowed and names the commands", async () => {
    await deploy("1", { wait: false });
    assert.deepEqual(allowed(host, first.appId), [v0, hashOf(first.composeFile)]);
    assert.ok(out.said.some((line) => /to go on waiting: dstack wait web; to go back: dstack rollback web/.test(line)));
  });

  test("ends what deployments before it left allowed that nobody waited for", async () => {
    await deploy("1", { wait: false });
    const v1 = hashOf(first.composeFile);
    await deploy("2", { wait: false });
    assert.deepEqual(host.log.slice(1, 3), [`policy - ${short(v0)}`, "UpdateVm"]);
    assert.deepEqual(allowed(host, first.appId), [v1, hashOf(first.composeFile)]);
    await deploy("3");
    assert.deepEqual(allowed(host, first.appId), [hashOf(first.composeFile)]);
  });

  test("that is deployed again and runs then ends what its first deployment left allowed", async () => {
    host.boot = (vm) => (hashOf(vm.composeFile) === v0 ? "done" : "refused");
    await refusal(deploy("1", { rollback: false }));
    host.boot = () => "done";
    await deploy("1");
    assert.deepEqual(host.log, ["StartVm", `policy - ${short(v0)}`]);
    assert.deepEqual(allowed(host, first.appId), [hashOf(first.composeFile)]);
  });

  test("that is interrupted while it waits names the commands", async () => {
    const controller = new AbortController();
    host.boot = () => (controller.abort(new CliError("failed", "interrupted")), "done");
    const error = await refusal(deploy("1", {}, controller.signal));
    assert.equal(error.message, "interrupted");
    assert.match(error.hint ?? "", /to go on waiting: dstack wait web; to go back: dstack rollback web/);
  });

  test("that is interrupted before its VM is touched undoes what it did", async () => {
    const controller = new AbortController();
    controller.abort(new CliError("failed", "interrupted"));
    await refusal(deploy("1", {}, controller.signal));
    assert.equal(hashOf(first.composeFile), v0);
    assert.deepEqual(allowed(host, first.appId), [v0]);
  });
});

describe("every instance that exists", () => {
  test("keeps its version allowed when another one is deployed, updated, put back or removed", async () => {
    await deploy("0");
    const [one] = host.vms as [FakeVm];
    const v0 = hashOf(one.composeFile);
    await deploy("0", { app: { name: "second", appId: one.appId } });
    const two = host.vms[1] as FakeVm;
    const w0 = hashOf(two.composeFile);
    assert.deepEqual(allowed(host, one.appId), [v0, w0]);

    await deploy("1", { app: { name: "second" } });
    const w1 = hashOf(two.composeFile);
    assert.deepEqual(allowed(host, one.appId), [v0, w1]);

    host.boot = (vm) => ([v0, w1].includes(hashOf(vm.composeFile)) ? "done" : "refused");
    await refusal(deploy("2", { app: { name: "second" } }));
    assert.deepEqual(allowed(host, one.appId), [v0, w1]);

    await removeApp(host, "second");
    assert.deepEqual(allowed(host, one.appId), [v0]);
  });

  test("keeps its version allowed where it cannot be read which one that is", async () => {
    await deploy("0");
    const [one] = host.vms as [FakeVm];
    host.vms.push({ ...one, id: "broken", name: "broken", composeFile: "" });
    await deploy("1");
    assert.equal(allowed(host, one.appId).length, 2);
  });

  test("keeps its version allowed where two have the very same one", async () => {
    await deploy("0");
    const [one] = host.vms as [FakeVm];
    host.vms.push({ ...one, id: "twin", name: "twin" });
    await deploy("1");
    assert.deepEqual(allowed(host, one.appId).length, 2);
    await removeApp(host, "web");
    assert.deepEqual(allowed(host, one.appId), [hashOf((host.vms[1] as FakeVm).composeFile)]);
  });
});

describe("rm", () => {
  test("withdraws what the deployment allowed, and forgets the app", async () => {
    await deploy("0");
    await deploy("1", { wait: false });
    await removeApp(host, "web");
    assert.deepEqual(host.policyDocument.apps, {});
  });

  test("removes an app whatever is wrong with the version that the VMM keeps", async () => {
    await deploy("0");
    const { appId } = only();
    host.vmm.previousVersion = () => Promise.reject(new CliError("failed", "previous-version.json is damaged"));
    await removeApp(host, "web");
    assert.deepEqual([only().status, allowed(host, appId)], ["removing", []]);
  });

  test("withdraws a version too that nobody waited to end before the environment was replaced", async () => {
    const given = { app: { environment: [{ key: "TOKEN", value: "a" }] } };
    await deploy("0", given);
    await deploy("1", { wait: false });
    assert.equal(allowed(host, only().appId).length, 2);
    await setEnvironment("web", [{ key: "TOKEN", value: "b" }], host);
    assert.deepEqual(allowed(host, only().appId), [hashOf(only().composeFile)]);
    await removeApp(host, "web");
    assert.deepEqual(host.policyDocument.apps, {});
  });

  test("through another VMM withdraws nothing, since others may run it under the policy, and says the command", async () => {
    await deploy("0");
    const { appId, composeFile: text } = only();
    Object.assign(host.vmm, { isLocal: false });
    await removeApp(host, "web");
    assert.deepEqual(allowed(host, appId), [hashOf(text)]);
    assert.ok(
      host.said.some((line) => line.includes(`dstack auth deny compose 0x${hashOf(text)} --app 0x${appId}`)),
      host.said.join("\n"),
    );
  });

  test("leaves alone what somebody else allowed", async () => {
    await deploy("0");
    const { appId } = only();
    host.policyDocument.apps?.[`0x${appId}`]?.composeHashes?.push(`0x${"ab".repeat(32)}`);
    await removeApp(host, "web");
    assert.deepEqual(allowed(host, appId), ["ab".repeat(32)]);
  });
});

describe("env set", () => {
  const pair = (value: string) => [{ key: "TOKEN", value }];
  beforeEach(() => deploy("0", { app: { environment: pair("a") } }));

  test("replaces the environment and starts the app again, and never withdraws the version that runs", async () => {
    await setEnvironment("web", pair("b"), host);
    await setEnvironment("web", pair("c"), host);
    assert.match(Buffer.from(only().encryptedEnv).toString(), /TOKEN=c$/);
    assert.deepEqual([only().status, allowed(host, only().appId)], ["running", [hashOf(only().composeFile)]]);
  });

  test("that ends between two steps says what the app has and how to go on", async () => {
    const aborted = AbortSignal.abort(new CliError("failed", "interrupted"));
    assert.match((await refusal(setEnvironment("web", pair("b"), host, aborted))).hint ?? "", /^nothing was changed/);
    assert.equal(only().status, "running");
    host.failing.set("StartVm", "no KVM");
    const error = await refusal(setEnvironment("web", pair("b"), host));
    assert.match(error.hint ?? "", /is replaced and web is stopped; to start it: dstack start web/);
  });
});

describe("rollback", () => {
  test("allows the earlier version again before it starts it", async () => {
    await deploy("0");
    const vm = only();
    const v0 = hashOf(vm.composeFile);
    await deploy("1");
    const v1 = hashOf(vm.composeFile);
    assert.deepEqual(allowed(host, vm.appId), [v1]);
    host.log.length = 0;
    const { replaced, composeHash } = await rollBackApp("web", host);
    assert.deepEqual([composeHash, replaced], [v0, v1]);
    assert.deepEqual(host.log, [`policy + ${short(v0)}`, "ShutdownVm", "rollback", "StartVm"]);
    assert.deepEqual(allowed(host, vm.appId), [v1, v0]);
  });

  test("without an earlier version is refused, and changes nothing", async () => {
    await deploy("0");
    host.log.length = 0;
    assert.equal((await refusal(rollBackApp("web", host))).code, "not-found");
    assert.deepEqual(host.log, []);
  });

  test("that is interrupted says which version there is and how to go on", async () => {
    await deploy("0");
    const v0 = hashOf(only().composeFile);
    await deploy("1");
    const controller = new AbortController();
    const interrupt = (): void => controller.abort(new CliError("failed", "interrupted"));
    const { rollBack } = host.vmm;
    host.vmm.rollBack = async (id) => {
      interrupt();
      return rollBack(id);
    };
    const error = await refusal(rollBackApp("web", host, controller.signal));
    assert.match(error.message, new RegExp(`web is version ${v0} again and is not started`));
    assert.match(error.hint ?? "", /dstack start web, then dstack wait web; .*dstack rollback web/);
  });

  test("that fails withdraws what it allowed", async () => {
    await deploy("0");
    await deploy("1");
    const v1 = hashOf(only().composeFile);
    host.failing.set("rollback", "no");
    await refusal(rollBackApp("web", host));
    assert.deepEqual(allowed(host, only().appId), [v1]);
  });
});

describe("what a guest would refuse", () => {
  const plan = async (given: Given, version = "0"): Promise<CliError> =>
    refusal(planDeployment(await requestFor(version, given), host));
  const value = (length: number): Given => ({ app: { environment: [{ key: "A", value: "x".repeat(length) }] } });

  test("an environment over a guest's sizes is found before a VM exists, and no value is shown", async () => {
    for (const given of [
      value(131_073),
      { app: { environment: [1, 2, 3].map((n) => ({ key: `A${n}`, value: "canary".repeat(20_000) })) } },
      { app: { environment: Array.from({ length: 1025 }, (_, n) => ({ key: `A${n}`, value: "" })) } },
      { app: { environment: [{ key: "A", value: "canary\0" }] } },
      { app: { environment: [{ key: "1A", value: "canary" }] } },
      { app: { environment: [{ key: "LD_PRELOAD", value: "canary" }] } },
    ]) {
      const error = await plan(given);
      assert.equal(error.code, "usage");
      assert.ok(!`${error.message}${error.hint ?? ""}`.includes("canary"));
    }
    await planDeployment(await requestFor("0", value(131_072)), host);
  });

  test("what the VMM would refuse is found before anything is changed, and the rest is named", async () => {
    assert.match((await plan({ app: { name: "bad/name" } })).message, /"bad\/name" is no name/);
    assert.match((await plan({ machine: { memoryMib: 511 } })).message, /511 MiB memory are too little/);
    assert.match((await plan({ machine: { memoryMib: 65_537 } })).message, /more than the VMM gives/);
    assert.match((await plan({ machine: { vcpu: 65 } })).message, /65 vCPU are more than the VMM gives/);
    const { imageStorageFs } = host;
    Object.assign(host, { imageStorageFs: async () => "ext4" });
    assert.match((await plan({ app: { storageFs: "zfs" } })).message, /has data disks of ext4, not zfs/);
    Object.assign(host, { imageStorageFs });
    await deploy("0", { machine: { ports: [port(8080, 80)] } });
    host.rules.portMappingEnabled = false;
    assert.match((await plan({ machine: { ports: [port(9090, 80)] } })).message, /the VMM maps no ports/);
    const { notChecked } = await planDeployment(await requestFor("1", {}), host);
    assert.match(notChecked.join("\n"), /vCPU and memory are free.*\n.*8080 -> 80 by its range/);
  });

  test("a disk that would not open is found before the VM is touched", async () => {
    await deploy("0");
    const zfs = await refusal(deploy("0", { app: { storageFs: "zfs" } }));
    assert.match(zfs.message, /would not open: it holds ext4/);
    assert.deepEqual(host.log, []);
    assert.match((await plan({ machine: { diskGib: 5 } })).message, /cannot shrink/);
  });

  test("a host port of another app is found before anything is changed", async () => {
    await deploy("0", { machine: { ports: [port(8080, 80)] } });
    const error = await plan({ app: { name: "other" }, machine: { ports: [{ ...port(8080, 1), hostAddress: "" }] } });
    assert.match(error.message, /port tcp 8080 -> 1 is mapped to web already/);
  });

  test("an app that is being removed has neither its name nor its ports any more", async () => {
    await deploy("0", { machine: { ports: [port(8080, 80)] } });
    await removeApp(host, "web");
    const { existing, machine } = await planDeployment(
      await requestFor("1", { machine: { ports: [port(8080, 80)] } }),
      host,
    );
    assert.deepEqual([existing, machine.wanted.ports], [undefined, [port(8080, 80)]]);
  });

  test("an update of a manifest with settings that deploy does not write is refused by their names", async () => {
    await deploy("0");
    const vm = only();
    vm.composeFile = JSON.stringify({
      ...(JSON.parse(vm.composeFile) as object),
      port_policy: { restrict_mode: true },
      something_new: 1,
    });
    assert.match((await plan({}, "1")).message, /sets port_policy, something_new, which an update would drop/);
  });

  test("settings of another tool that deploy can write are kept", async () => {
    await deploy("0");
    const vm = only();
    vm.composeFile = JSON.stringify({
      ...(JSON.parse(vm.composeFile) as object),
      no_instance_id: true,
      swap_size: 1024,
      public_logs: true,
    });
    const { manifest, disk, kept } = await planDeployment(await requestFor("1", {}), host);
    assert.deepEqual(
      [manifest.compose.noInstanceId, manifest.compose.swapSizeBytes, manifest.compose.publicLogs],
      [true, 1024n, true],
    );
    assert.deepEqual([disk.opens, disk.isKeyShared], ["yes", true]);
    assert.ok(kept.includes("no instance id") && kept.includes("public logs"));
    assert.equal(
      (await planDeployment(await requestFor("1", { app: { publicLogs: false } }), host)).manifest.compose.publicLogs,
      false,
    );
  });

  test("an app whose manifest cannot be read is not updated: nobody knows what to keep", async () => {
    await deploy("0", { app: { environment: [{ key: "TOKEN", value: "s" }] } });
    only().composeFile = "{";
    assert.match((await plan({}, "1")).message, /the manifest of web cannot be read/);
  });

  test("two apps of one name are not guessed at", async () => {
    await deploy("0");
    host.vms.push({ ...only(), id: "twin" });
    assert.match((await plan({})).message, /2 apps are named web: vm-0, twin/);
  });
});

describe("a dry run", () => {
  const dry = async (version: string, given: Given = {}): Promise<{ json: Record<string, unknown>; text: string }> => {
    host.log.length = 0;
    const plan = await planDeployment(await requestFor(version, given), host);
    assert.deepEqual(host.log, [], "nothing is changed");
    return { json: planJson(plan) as Record<string, unknown>, text: planText(plan) };
  };

  test("of a new app prints the very manifest, what would be allowed, machine and disk", async () => {
    const { json, text } = await dry("0", { machine: { ports: [port(8080, 80)] } });
    assert.deepEqual(host.policyDocument, {});
    assert.equal(json["compose_hash"], hashOf(String(json["manifest"])));
    assert.deepEqual([json["allowed"], json["updates"], json["steps"]], [true, null, ["allow", "create"]]);
    assert.deepEqual(
      [json["image"], json["vcpu"], json["memory_mib"], json["disk_gib"]],
      ["dstack-sim-0.6.0", 2, 2048, 10],
    );
    assert.deepEqual(json["disk"], {
      opens: "new",
      reason: "made at first boot; the KMS derives its key from app id and instance id",
      key_provider: "kms",
      key_shared: false,
    });
    for (const expected of [
      /^would {9}create a VM$/m,
      /^policy \+ {6}apps\.0x[0-9a-f]{40}\.composeHashes 0x[0-9a-f]{64}$/m,
      /^allowed {7}yes, with the changes above: apps\.0x[0-9a-f]{40}\.composeHashes of auth-config\.json$/m,
      /^host ports {4}tcp 127\.0\.0\.1:8080 -> 80$/m,
      /^ {6}"docker_compose_file": "services:/m,
    ])
      assert.match(text, expected);
  });

  test("of an update prints how its bytes differ from what runs, and what is kept", async () => {
    await deploy("0", { app: { environment: [{ key: "TOKEN", value: "canary" }] } });
    const { json, text } = await dry("1");
    const updates = json["updates"] as Record<string, unknown>;
    assert.equal(updates["vm_id"], "vm-0");
    assert.equal(updates["first_byte"], only().composeFile.indexOf("sha256:") + 7);
    assert.match(text, /^ {6}- {5}image: busybox@sha256:0{64}$/m);
    assert.match(text, /^ {6}\+ {5}image: busybox@sha256:1{64}$/m);
    assert.match(text, /^not given {5}and kept: .*environment TOKEN/m);
    assert.match(text, /^disk {10}opens: the KMS derives its key/m);
    assert.deepEqual(json["steps"], ["allow", "update", "stop", "start", "withdraw"]);
    assert.ok(!`${JSON.stringify(json)}${text}`.includes("canary"));
  });

  test("of what runs already says so", async () => {
    await deploy("0");
    const { json, text } = await dry("0");
    assert.deepEqual([json["steps"], json["policy_changes"]], [[], []]);
    const rule = `apps.0x${only().appId}.composeHashes`;
    assert.deepEqual(json["decision"], { kind: "allowed", rule, by: "auth-config.json" });
    assert.ok(text.includes(`yes, as the policy is: ${rule} of auth-config.json`), text);
    assert.match(text, /^not checked {3}whether the policy takes the platform's TCB status and advisories/m);
    assert.match(text, /^steps {9}none: all is so already$/m);
    assert.match(text, /^manifest {6}\d+ bytes, the same as now$/m);
  });

  test("of what may not boot names the rule", async () => {
    const { json, text } = await dry("0", { permission: { allow: false } });
    assert.equal(json["allowed"], false);
    assert.match(text, /^allowed {7}no: OS image is not allowed \(rule osImages, field osImageHash\)$/m);
    assert.equal((await dry("0", { permission: { check: false } })).json["allowed"], null);
  });

  test("ends with 3 where the policy denies it, and with 1 where it would fail otherwise", async () => {
    const code = async (given: Given): Promise<number> =>
      exitCodeOf(await planDeployment(await requestFor("0", given), host));
    assert.equal(await code({ permission: { allow: false } }), 3);
    assert.equal(await code({}), 0);
    await deploy("0");
    assert.equal(await code({ app: { storageFs: "zfs" } }), 1);
    host.policy.ask = async () => ({ kind: "no-answer", reason: "silent" });
    assert.equal(await code({}), 1);
  });
});

test("a second deployment of a name at the same time is told who is at it; one of another name is not", async () => {
  const { layout } = createCli({ XDG_STATE_HOME: join(folder, "state") });
  await withAppLock(layout, "we/b", async () => {
    const error = await refusal(withAppLock(layout, "we/b", async () => undefined));
    assert.match(error.message, new RegExp(`we/b is being deployed or changed by process ${process.pid}`));
    await withAppLock(layout, "other", async () => undefined);
  });
  await withAppLock(layout, "we/b", async () => undefined);
});
