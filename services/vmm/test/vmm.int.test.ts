import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  alive,
  cleanUp,
  composeFile,
  endSupervisor,
  freePort,
  info,
  makeHost,
  startVmm,
  until,
  untilInfo,
  vmRequest,
  type TestVmm,
  type VmInfoJson,
} from "./vmm-process.ts";

after(cleanUp);

const pidOf = (vmm: TestVmm, id: string): number => Number(readFileSync(join(vmm.dir, `vm/${id}/qemu.pid`), "utf8"));

describe("a VMM with a stand-in for QEMU", () => {
  let vmm: TestVmm;
  before(async () => {
    vmm = await startVmm(makeHost());
  });
  after(() => vmm.endAll());

  const removed = async (id: string): Promise<void> => {
    await vmm.rpc("RemoveVm", { id });
    await until("removal", async () =>
      (await vmm.rpc<{ found: boolean }>("GetInfo", { id })).found ? undefined : true,
    );
    assert.equal(existsSync(join(vmm.dir, "vm", id)), false);
  };

  test("creates, boots, shows, stops, starts and removes a VM", async () => {
    const compose = composeFile();
    const port = await freePort();
    const { id } = await vmm.rpc<{ id: string }>(
      "CreateVm",
      vmRequest({
        encrypted_env: "00ff",
        ports: [{ protocol: "tcp", host_port: port, vm_port: 8080, host_address: "" }],
      }),
    );
    const booted = await untilInfo(vmm, id, (vm) => vm.boot_progress === "done", "boot");
    const hash = createHash("sha256").update(compose).digest("hex");
    assert.equal(booted.status, "running");
    assert.equal(booted.app_id, hash.slice(0, 40));
    assert.equal(booted.instance_id, "22".repeat(20));
    assert.equal(booted.app_url, `https://${"22".repeat(20)}-8090.localhost:8082`);
    assert.equal(booted.configuration?.compose_file, compose);
    assert.equal(booted.configuration?.encrypted_env, "00ff");
    assert.deepEqual(
      booted.events.map(({ event, body }) => (event === "instance.info" ? event : body)),
      ["initializing data disk", "requesting app keys", "instance.info", "done"],
    );
    assert.deepEqual(booted.configuration?.ports, [
      { protocol: "tcp", host_port: port, vm_port: 8080, host_address: "127.0.0.1" },
    ]);

    const folder = join(vmm.dir, "vm", id);
    assert.equal(readFileSync(join(folder, "shared/app-compose.json"), "utf8"), compose);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    assert.equal(statSync(join(folder, "shared")).mode & 0o777, 0o700);
    for (const name of [
      "shared/.encrypted-env",
      "shared/.sys-config.json",
      "shared/.instance_info",
      "vm-manifest.json",
    ])
      assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
    const sys = JSON.parse(readFileSync(join(folder, "shared/.sys-config.json"), "utf8")) as {
      host_api_url: string;
      vm_config: string;
    };
    assert.equal(sys.host_api_url, "virtio-serial://org.dstack.host.0/api");
    const config = JSON.parse(sys.vm_config) as Record<string, unknown>;
    assert.deepEqual(
      [config["os_image_hash"], config["cpu_count"], config["memory_size"], config["qemu_version"], config["image"]],
      [vmm.imageHash, 2, 1024 ** 3, "10.0.2", "dstack-0.6.0"],
    );

    const guest = await vmm.http("POST", "/guest/NetworkInfo?json", {
      body: JSON.stringify({ id }),
      headers: { "content-type": "application/json" },
    });
    assert.deepEqual((guest.json as { dns_servers: string[] }).dns_servers, ["10.0.2.3"]);

    const pid = pidOf(vmm, id);
    await vmm.rpc("StopVm", { id });
    assert.equal((await info(vmm, id)).status, "stopped");
    assert.equal(alive(pid), false);
    await vmm.rpc("StartVm", { id });
    await untilInfo(vmm, id, (vm) => vm.boot_progress === "done", "second boot");
    assert.match((await vmm.http("GET", `/logs?id=${id}`)).text, /===== boot @ .*Z =====/);
    assert.ok(existsSync(join(folder, "serial.log.1")));
    await removed(id);
  });

  test("shutting down through the guest leaves the VM stopped, not restarted", async () => {
    const { id } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest());
    await untilInfo(vmm, id, (vm) => vm.boot_progress === "done", "boot");
    await vmm.rpc("ShutdownVm", { id });
    await untilInfo(vmm, id, (vm) => vm.status === "stopped", "power off");
    await sleep(3_000);
    assert.equal((await info(vmm, id)).status, "stopped");
    assert.match(await vmm.refusal("ShutdownVm", { id }), /is not running/);
    await removed(id);
  });

  test("a boot that the guest refuses is not repeated, and its reason stays", async () => {
    const { id } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest({ user_config: '{"mode":"refuse"}' }));
    const refused = await untilInfo(vmm, id, (vm) => vm.status === "exited", "end");
    assert.equal(refused.boot_error, "KMS refused: <b>compose hash</b> is not allowed");
    await sleep(3_500);
    const later = await info(vmm, id);
    assert.deepEqual([later.status, later.boot_error], ["exited", refused.boot_error]);
    assert.equal(later.events.filter((event) => event.event === "boot.error").length, 1);
    await removed(id);
  });

  test("an error that the guest takes back with an empty one is gone, from the disk too", async () => {
    const { id } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest({ user_config: '{"mode":"no-route"}' }));
    const booted = await untilInfo(
      vmm,
      id,
      ({ events }) => events.filter(({ event }) => event === "boot.error").length === 2,
      "both errors",
    );
    assert.deepEqual(
      booted.events.filter(({ event }) => event === "boot.error").map(({ body }) => body),
      ["no gateway answers", ""],
    );
    await untilInfo(vmm, id, ({ boot_error }) => boot_error === "", "no error");
    const state = JSON.parse(readFileSync(join(vmm.dir, `vm/${id}/vm-state.json`), "utf8")) as object;
    assert.deepEqual(state, { started: true });
    await removed(id);
  });

  test("a VM that crashes is started again by the policy and then left with the reason", async () => {
    const { id } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest({ user_config: '{"mode":"crash"}' }));
    const given = await untilInfo(
      vmm,
      id,
      (vm) => vm.events.some((event) => event.event === "vmm.auto_restart.exhausted"),
      "the policy's end",
    );
    assert.match(
      given.boot_error,
      /^Automatic restart stopped after 1 failed attempts: the virtual machine ended with code 1: .*could not set up host forwarding rule/,
    );
    assert.equal(given.status, "exited");
    await removed(id);
  });

  test("logs are served by channel, without escapes unless asked, and followed", async () => {
    const { id } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest());
    await until("log", async () =>
      (await vmm.http("GET", `/logs?id=${id}`)).text.includes("App Compose") ? true : undefined,
    );
    const plain = await vmm.http("GET", `/logs?id=${id}&ansi=false`);
    assert.match(plain.text, /^Linux version 6\.18\.0-fake\n/);
    assert.equal(plain.headers["x-content-type-options"], "nosniff");
    assert.match((await vmm.http("GET", `/logs?id=${id}&ansi=true`)).text, /^\x1b\[32mLinux/);
    assert.equal((await vmm.http("GET", `/logs?id=${id}&lines=1`)).text, "[  OK  ] Finished App Compose Service.\n");
    const followed = vmm.http("GET", `/logs?id=${id}&lines=0&follow=true`);
    await sleep(300);
    writeFileSync(join(vmm.dir, `vm/${id}/serial.log`), "one more line\n", { flag: "a" });
    await sleep(700);
    await vmm.rpc("StopVm", { id });
    void followed.catch(() => undefined);
    assert.equal((await vmm.http("GET", "/logs?id=nothing")).status, 404);
    assert.equal((await vmm.http("GET", "/logs?id=..%2F..%2Fetc%2Fpasswd")).status, 404);
    assert.equal((await vmm.http("GET", "/logs")).status, 400);
    assert.equal((await vmm.http("GET", `/logs?id=${id}&ch=qmp`)).status, 400);
    await removed(id);
  });

  test("refuses each bad request with the reason, and leaves nothing behind", async () => {
    const { id: other } = await vmm.rpc<{ id: string }>(
      "CreateVm",
      vmRequest({ stopped: true, ports: [{ protocol: "tcp", host_port: 18_123, vm_port: 80 }] }),
    );
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const bound = (server.address() as { port: number }).port;
    const port = (host_port: number): object => ({ ports: [{ protocol: "tcp", host_port, vm_port: 80 }] });
    const bad: [object, RegExp][] = [
      [{ image: "dstack-9.9.9" }, /image dstack-9\.9\.9 does not exist .*there are: dstack-0\.6\.0/],
      [{ image: "../images/dstack-0.6.0" }, /Invalid image name/],
      [port(18_123), new RegExp(`host port mapping conflicts with VM ${other}: tcp 127.0.0.1:18123`)],
      [port(bound), /in use on this host/],
      [{ memory: 511 }, /memory is too small: 511 MB, at least 512 MB/],
      [{ memory: 0 }, /memory must be greater than zero/],
      [{ vcpu: 0 }, /vcpu must be greater than zero/],
      [{ disk_size: 0 }, /disk_size must be greater than zero/],
      [{ name: "bad\u0007name" }, /Invalid name/],
      [{ name: "" }, /Invalid name/],
      [{ compose_file: "" }, /Invalid compose file/],
      [{ compose_file: "services: {}" }, /Invalid compose file/],
      [{ compose_file: composeFile({ docker_compose_file: "a: [" }) }, /Invalid compose file: .*line 1: invalid YAML/],
      [
        { compose_file: composeFile({ docker_compose_file: "service: {}" }) },
        /Invalid compose file: .*unknown key service/,
      ],
      [
        { compose_file: composeFile({ padding: "x".repeat(9_000_000) }) },
        /Invalid compose file: \d+ bytes, at most 8388608/,
      ],
      [{ compose_file: composeFile({ padding: "x".repeat(10 * 1024 * 1024) }) }, /payload too large/],
      [
        { compose_file: composeFile({ storage_fs: "zfs" }) },
        /storage_fs zfs is not supported by image dstack-0\.6\.0, which has ext4/,
      ],
      [{ compose_file: composeFile({ key_provider: "tpm" }) }, /key provider tpm/],
      [{ simulated_tee: "bogus" }, /unsupported TEE variant: bogus/],
      [{ simulated_tee: "dstack-tdx" }, /tee simulator credentials are not configured/],
      [{ gpus: { attach_mode: "all", gpus: [] } }, /GPU is not enabled/],
      [{ networks: [{ mode: "custom", bridge_name: "" }] }, /custom networking mode/],
      [{ kms_urls: ["file:///etc"] }, /kms_urls/],
      [{ app_id: "zz" }, /Invalid app id/],
      [{ vcpu: 21 }, /not enough vCPUs: 21 wanted/],
    ];
    for (const [over, text] of bad)
      assert.match(await vmm.refusal("CreateVm", vmRequest(over)), text, JSON.stringify(over).slice(0, 100));
    server.close();
    // TDX without TDX hardware: said before anything is written.
    assert.match(await vmm.refusal("CreateVm", vmRequest({ no_tee: false })), /this host offers no TDX/);
    const { vms } = await vmm.rpc<{ vms: VmInfoJson[] }>("Status", { brief: true });
    assert.deepEqual(
      vms.map((vm) => vm.id),
      [other],
    );
    assert.deepEqual(
      readdirSync(join(vmm.dir, "vm")).filter((name) => !name.startsWith(".")),
      [other],
    );
    await removed(other);
  });

  test("updates compose, ports and resources as a whole or not at all", async () => {
    const { id } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest({ stopped: true }));
    const compose = composeFile({ name: "second" });
    const hash = createHash("sha256").update(compose).digest("hex");
    const before = await info(vmm, id);
    assert.match(await vmm.refusal("UpdateVm", { id, compose_file: compose, memory: 100 }), /memory is too small/);
    assert.equal((await info(vmm, id)).configuration?.compose_file, before.configuration?.compose_file);
    assert.match(await vmm.refusal("UpdateVm", { id, memory: 2048, compose_file: "{" }), /Invalid compose file/);
    assert.equal((await info(vmm, id)).configuration?.memory, 1024);
    assert.deepEqual(await vmm.rpc("UpgradeApp", { id, compose_file: compose, memory: 2048 }), {
      id: hash.slice(0, 40),
    });
    const updated = await info(vmm, id);
    assert.deepEqual(
      [updated.configuration?.compose_file, updated.configuration?.memory, updated.app_id],
      [compose, 2048, before.app_id],
    );
    assert.match(await vmm.refusal("ResizeVm", { id }), /resize request contains no updates/);
    await vmm.rpc("ResizeVm", { id, vcpu: 3, disk_size: 2 });
    assert.match(await vmm.refusal("ResizeVm", { id, disk_size: 1 }), /Cannot shrink disk size/);
    await vmm.rpc("StartVm", { id });
    assert.match(await vmm.refusal("ResizeVm", { id, vcpu: 1 }), /should be stopped before resize/);
    assert.match(await vmm.refusal("UpdateVm", { id: "nothing" }), /VM not found/);
    assert.deepEqual(await vmm.rpc("GetComposeHash", vmRequest()), {
      hash: createHash("sha256").update(composeFile()).digest("hex"),
    });
    await removed(id);
  });

  test("an update can be taken back over the API, once and again", async () => {
    const { id } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest({ stopped: true }));
    const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex");
    const [first, second] = [composeFile(), composeFile({ name: "second" })];
    for (const [verb, path] of [
      ["GET", "/previous-version"],
      ["POST", "/rollback"],
    ] as const) {
      for (const query of [`?id=${id}`, "?id=nothing", "?id=..%2Fx", ""]) {
        const { status, json } = await vmm.http(verb, path + query);
        assert.equal(status, 404, `${verb} ${path}${query}`);
        assert.match((json as { error: string }).error, /no previous version|VM not found|invalid VM id/);
      }
    }
    await vmm.rpc("UpgradeApp", { id, compose_file: second, encrypted_env: "00ff" });
    const kept = (await vmm.http("GET", `/previous-version?id=${id}`)).json as Record<string, string>;
    assert.deepEqual([kept["id"], kept["compose_hash"]], [id, hashOf(first)]);
    assert.match(kept["saved_at"] ?? "", /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assert.equal((await vmm.http("GET", `/rollback?id=${id}`)).status, 404);
    const back = await vmm.http("POST", `/rollback?id=${id}`);
    assert.deepEqual([back.status, back.json], [200, { id, compose_hash: hashOf(first) }]);
    const { configuration } = await info(vmm, id);
    assert.deepEqual([configuration?.compose_file, configuration?.encrypted_env], [first, ""]);
    const again = await vmm.http("POST", `/rollback?id=${id}`);
    assert.deepEqual(again.json, { id, compose_hash: hashOf(second) });
    assert.equal((await info(vmm, id)).configuration?.encrypted_env, "00ff");
    await removed(id);
  });

  test("serves image bundles by hash, and nothing else of the image folder", async () => {
    const bundle = await vmm.http("GET", `/os-images/mr_${vmm.imageHash}.tar.gz`);
    assert.deepEqual([bundle.status, bundle.text], [200, "bundle"]);
    for (const path of [
      `mr_${"0".repeat(64)}.tar.gz`,
      "dstack-0.6.0/metadata.json",
      "..%2Fvmm.toml",
      `mr_${vmm.imageHash}.tar.gz/..`,
    ])
      assert.equal((await vmm.http("GET", `/os-images/${path}`)).status, 404, path);
  });

  test("other web sites cannot make a browser change anything", async () => {
    const { id } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest({ stopped: true }));
    const remove = (headers: Record<string, string>): Promise<{ status: number }> =>
      vmm.http("POST", "/prpc/RemoveVm", { headers, body: JSON.stringify({ id }) });
    assert.equal((await remove({ origin: "https://evil.example" })).status, 403);
    assert.equal((await remove({ "sec-fetch-site": "cross-site" })).status, 403);
    assert.equal((await remove({ host: `rebound.evil.example:${vmm.port}` })).status, 403);
    assert.equal((await vmm.http("GET", `/prpc/RemoveVm?id=${id}`)).status, 400);
    assert.equal((await vmm.http("GET", `/prpc/Vmm.RemoveVm?id=${id}`)).status, 400);
    assert.equal((await info(vmm, id)).status, "stopped");
    assert.equal(
      (
        await vmm.http("POST", "/prpc/GetInfo?json", {
          headers: { origin: `http://127.0.0.1:${vmm.port}`, "sec-fetch-site": "same-origin" },
          body: JSON.stringify({ id }),
        })
      ).status,
      200,
    );
    await removed(id);
  });

  test("serves the console under a strict policy, the VM list at /vm, and both prefixes", async () => {
    const page = await vmm.http("GET", "/");
    assert.equal(page.status, 200);
    assert.match(String(page.headers["content-security-policy"]), /default-src 'none'; script-src 'self'/);
    assert.equal(/<script(?![^>]*src=)|style=|onclick=/.test(page.text), false);
    assert.equal((await vmm.http("GET", "/console/..%2Fsrc%2Fmain.ts")).status, 404);
    assert.equal((await vmm.http("GET", "/vm")).status, 200);
    for (const name of ["Status", "Teepod.Status", "Vmm.Status"])
      assert.equal((await vmm.http("GET", `/prpc/${name}`)).status, 200);
    assert.deepEqual(await vmm.rpc("GetInfo", { id: "nothing" }), { found: false, info: null });
    const meta = await vmm.rpc<{ node: { accelerator: string }; resources: { max_cvm_number: number } }>("GetMeta");
    assert.equal(meta.resources.max_cvm_number, 1000);
    assert.ok((await vmm.rpc<{ processes: unknown[] }>("SvList")).processes.length >= 0);
    assert.match(await vmm.refusal("GetAppEnvEncryptPubKey", { app_id: "11".repeat(20) }), /KMS is not configured/);
    assert.match(await vmm.refusal("PullRegistryImage", { tag: "x" }), /image registry is not configured/);
  });
});

test("VMs go on when the VMM is killed, and are found again with their channel", async () => {
  const host = makeHost();
  const first = await startVmm(host);
  const { id } = await first.rpc<{ id: string }>("CreateVm", vmRequest());
  await untilInfo(first, id, (vm) => vm.boot_progress === "done", "boot");
  const pid = pidOf(first, id);
  await first.end("SIGKILL");
  assert.equal(alive(pid), true);
  const second = await startVmm(host);
  const found = await info(second, id);
  assert.deepEqual([found.status, found.boot_progress, pidOf(second, id)], ["running", "running", pid]);
  await until("channel", async () =>
    (await second.http("POST", "/guest/NetworkInfo?json", { body: JSON.stringify({ id }) })).status === 200
      ? true
      : undefined,
  );

  // The supervisor is killed too: nothing is lost, another finds the VM.
  await endSupervisor(host.dir, "SIGKILL");
  assert.equal(alive(pid), true);
  assert.equal((await info(second, id)).status, "running");
  assert.equal(pidOf(second, id), pid);
  await second.rpc("StopVm", { id });
  assert.equal(alive(pid), false);
  await second.endAll();
});

test("a VM whose id is `inventory` is updated like any other, and holds up no create", async () => {
  const host = makeHost();
  const first = await startVmm(host);
  const { id } = await first.rpc<{ id: string }>("CreateVm", vmRequest({ stopped: true }));
  await first.end();
  renameSync(join(host.dir, "vm", id), join(host.dir, "vm/inventory"));
  const manifest = join(host.dir, "vm/inventory/vm-manifest.json");
  writeFileSync(manifest, readFileSync(manifest, "utf8").replace(`"id":"${id}"`, '"id":"inventory"'));
  const second = await startVmm(host);
  await second.rpc("UpdateVm", { id: "inventory", memory: 2048 });
  assert.equal((await info(second, "inventory")).configuration?.memory, 2048);
  await second.rpc("CreateVm", vmRequest({ stopped: true }));
  await second.endAll();
});

test("a second VMM on the same folder is refused", async () => {
  const host = makeHost();
  const first = await startVmm(host);
  await assert.rejects(startVmm(host), /is held by process/);
  await first.endAll();
});

test("a damaged VM is listed with the reason, the others work, and it can be removed", async () => {
  const host = makeHost();
  const first = await startVmm(host);
  const { id: broken } = await first.rpc<{ id: string }>("CreateVm", vmRequest({ stopped: true }));
  const { id: good } = await first.rpc<{ id: string }>("CreateVm", vmRequest({ stopped: true }));
  const { id: imageless } = await first.rpc<{ id: string }>("CreateVm", vmRequest({ stopped: true }));
  await first.end();
  truncateSync(join(host.dir, `vm/${broken}/vm-manifest.json`), 40);
  const manifest = join(host.dir, `vm/${imageless}/vm-manifest.json`);
  writeFileSync(manifest, readFileSync(manifest, "utf8").replace('"dstack-0.6.0"', '"dstack-0.5.9"'));
  const second = await startVmm(host);
  const { vms } = await second.rpc<{ vms: VmInfoJson[] }>("Status", { brief: true });
  assert.equal(vms.length, 3);
  const shown = vms.find((vm) => vm.id === broken);
  assert.equal(shown?.status, "broken");
  assert.match(shown?.boot_error ?? "", /vm-manifest\.json is not JSON \(40 characters\)/);
  assert.match(await second.refusal("StartVm", { id: broken }), /cannot be started: vm-manifest\.json is not JSON/);
  assert.match(await second.refusal("StartVm", { id: imageless }), /image dstack-0\.5\.9 does not exist/);
  await second.rpc("StartVm", { id: good });
  await untilInfo(second, good, (vm) => vm.boot_progress === "done", "boot");
  await second.rpc("RemoveVm", { id: broken });
  await until("removal", () => (existsSync(join(host.dir, `vm/${broken}`)) ? undefined : true));
  rmSync(join(host.dir, `vm/${imageless}`), { recursive: true });
  assert.deepEqual(await second.rpc("ReloadVms"), { loaded: 0, updated: 1, removed: 1 });
  await second.endAll();
});

test("a refused boot stays refused over a restart of the VMM, and a started VM comes back", async () => {
  const host = makeHost();
  const first = await startVmm(host);
  const { id: refused } = await first.rpc<{ id: string }>("CreateVm", vmRequest({ user_config: '{"mode":"refuse"}' }));
  const { id: started } = await first.rpc<{ id: string }>("CreateVm", vmRequest());
  await untilInfo(first, refused, (vm) => vm.status === "exited", "refusal");
  await untilInfo(first, started, (vm) => vm.boot_progress === "done", "boot");
  await first.endAll();
  const second = await startVmm(host);
  await untilInfo(second, started, (vm) => vm.boot_progress === "done", "boot after the host's restart");
  const kept = await info(second, refused);
  assert.deepEqual([kept.status, kept.boot_error], ["exited", "KMS refused: <b>compose hash</b> is not allowed"]);
  await second.endAll();
});

test("with auth on, every route asks for a token, image bundles for this host excepted", async () => {
  const host = makeHost();
  const vmm = await startVmm(host, { toml: '[auth]\nenabled = true\ntokens = ["secret"]' });
  const open = ["/", "/vm", "/console/main.js", "/logs?id=x", "/prpc/Status", "/guest/Info?id=x", "/nothing"];
  for (const path of open) {
    const answer = await vmm.http("GET", path);
    assert.deepEqual(
      [answer.status, answer.text, answer.headers["www-authenticate"]],
      [401, "", 'Basic realm="dstack-vmm API"'],
      path,
    );
  }
  assert.equal((await vmm.http("POST", "/prpc/Status?json", { body: "{}" })).status, 401);
  assert.equal((await vmm.http("POST", "/prpc/Status?token=secret&json", { body: "{}" })).status, 401);
  assert.equal((await vmm.http("GET", "/prpc/Status?token=secret")).status, 200);
  assert.equal(
    (await vmm.http("POST", "/prpc/Status?json", { body: "{}", headers: { authorization: "Bearer secret" } })).status,
    200,
  );
  assert.equal((await vmm.http("GET", `/os-images/mr_${host.imageHash}.tar.gz`)).status, 200);

  // A browser that is opened with the token gets a session, which works for the console's calls alone on this site.
  const opened = await vmm.http("GET", "/?token=secret", { headers: { accept: "text/html" } });
  assert.deepEqual([opened.status, opened.headers["location"]], [303, "/"]);
  const [session = ""] = opened.headers["set-cookie"] as string[];
  assert.match(session, /; HttpOnly; SameSite=Strict$/);
  assert.equal(session.includes("secret"), false);
  const cookie = session.split(";")[0] ?? "";
  const status = (headers: Record<string, string>): Promise<{ status: number }> =>
    vmm.http("POST", "/prpc/Status?json", { body: "{}", headers });
  assert.equal((await status({ cookie: `other=1; ${cookie}` })).status, 200);
  assert.equal((await status({ cookie, origin: "http://evil.example" })).status, 403);
  assert.equal((await status({ cookie: cookie.replace(/.$/, (last) => (last === "0" ? "1" : "0")) })).status, 401);
  assert.equal((await vmm.http("GET", "/?token=wrong", { headers: { accept: "text/html" } })).status, 401);
  await vmm.endAll();
});

test("a bad configuration ends the VMM with one line that names the key", async () => {
  await assert.rejects(
    startVmm(makeHost(), { cvm: 'host_share_mode = "vhd"' }),
    /cvm\.host_share_mode: expected 9p or vvfat/,
  );
});

test(
  "a full disk is said, and nothing half made stays",
  { skip: process.getuid?.() === 0 ? false : "needs root to mount a small file system" },
  async (t) => {
    const host = makeHost();
    const folder = join(host.dir, "vm");
    mkdirSync(folder);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], { stdio: "ignore" });
    } catch {
      t.skip("no file system can be mounted here");
      return;
    }
    try {
      const vmm = await startVmm(host);
      const { id } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest({ stopped: true }));
      assert.match(
        await vmm.refusal("CreateVm", vmRequest({ stopped: true, user_config: "x".repeat(300_000) })),
        /the disk that holds .* is full; free some space and try again/,
      );
      assert.deepEqual(
        readdirSync(folder).filter((name) => !name.startsWith(".vmm") && name !== ".accelerator.json"),
        [id],
      );
      assert.match(await vmm.refusal("UpdateVm", { id, user_config: "x".repeat(300_000) }), /is full/);
      assert.equal((await info(vmm, id)).status, "stopped");
      await vmm.endAll();
    } finally {
      execFileSync("umount", ["-l", folder]);
    }
  },
);
