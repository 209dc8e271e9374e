import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { request } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const MAIN = join(import.meta.dirname, "../src/main.ts");
const FAKE_QEMU = join(import.meta.dirname, "fake/qemu.ts");

export interface Answer {
  status: number;
  text: string;
  headers: Record<string, string | string[] | undefined>;
  json: never;
}

export interface TestVmm {
  readonly dir: string;
  readonly port: number;
  readonly child: ChildProcess;
  readonly imageHash: string;
  /** JSON call of one method; the answer's value. */
  rpc<T = never>(method: string, body?: object): Promise<T>;
  /** The error text of a call that must fail. */
  refusal(method: string, body?: object): Promise<string>;
  http(verb: string, path: string, options?: { body?: string; headers?: Record<string, string> }): Promise<Answer>;
  /** Ends the VMM alone. */
  end(signal?: NodeJS.Signals): Promise<void>;
  /** Ends VMM and supervisor, and with it all VMs. */
  endAll(): Promise<void>;
  stderr(): string;
}

export interface VmInfoJson {
  id: string;
  name: string;
  status: string;
  app_id: string;
  app_url: string | null;
  instance_id: string | null;
  uptime: string;
  boot_progress: string;
  boot_error: string;
  shutdown_progress: string;
  events: { event: string; body: string }[];
  configuration: {
    compose_file: string;
    ports: object[];
    encrypted_env: string;
    stopped: boolean;
    memory: number;
  } | null;
}

export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** A folder with an image whose files are stand-ins and a QEMU that is one. */
export function makeHost(): { dir: string; imageHash: string } {
  const dir = mkdtempSync(join(tmpdir(), "dstack-vmm-"));
  const image = join(dir, "images/dstack-0.6.0");
  mkdirSync(image, { recursive: true });
  const files: Record<string, string> = {
    "metadata.json": JSON.stringify({
      bios: "ovmf.fd",
      kernel: "bzImage",
      initrd: "initramfs.cpio.gz",
      rootfs: "rootfs.img.verity",
      cmdline: "console=ttyS0 dstack.storage_fs=ext4",
      shared_ro: true,
      version: "0.6.0",
      is_dev: false,
    }),
    "ovmf.fd": "firmware",
    bzImage: "kernel",
    "initramfs.cpio.gz": "initrd",
    "rootfs.img.verity": "root",
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(image, name), content);
  const sums = ["ovmf.fd", "bzImage", "initramfs.cpio.gz", "metadata.json"]
    .map(
      (name) =>
        `${createHash("sha256")
          .update(files[name] ?? "")
          .digest("hex")}  ${name}\n`,
    )
    .join("");
  writeFileSync(join(image, "sha256sum.txt"), sums);
  const imageHash = createHash("sha256").update(sums).digest("hex");
  writeFileSync(join(image, "digest.txt"), imageHash);
  writeFileSync(join(dir, `images/mr_${imageHash}.tar.gz`), "bundle");
  mkdirSync(join(dir, "bin"));
  script(join(dir, "bin/qemu-system-x86_64"), `exec '${process.execPath}' '${FAKE_QEMU}' "$@"`);
  // The last two words are the disk's path and its size.
  script(join(dir, "bin/qemu-img"), 'while [ $# -gt 2 ]; do shift; done; echo "$2" > "$1"');
  return { dir, imageHash };
}

export async function startVmm(
  host: { dir: string; imageHash: string },
  config: { toml?: string; cvm?: string; imagePath?: string; qemuPath?: string } = {},
): Promise<TestVmm> {
  const { dir, imageHash } = host;
  hosts.push(dir);
  const port = await freePort();
  const file = join(dir, "vmm.toml");
  writeFileSync(
    file,
    `address = "127.0.0.1:${port}"
run_path = "${dir}/vm"
kms_url = ""
${config.toml ?? ""}
[image]
path = "${config.imagePath ?? join(dir, "images")}"
[cvm]
qemu_path = "${config.qemuPath ?? join(dir, "bin/qemu-system-x86_64")}"
accelerator = "tcg"
${config.cvm ?? ""}
[cvm.port_mapping]
enabled = true
range = [{ protocol = "tcp", from = 1, to = 65535 }]
[cvm.auto_restart]
interval = 1
initial_backoff = 1
max_backoff = 1
max_retries = 1
[supervisor]
sock = "${dir}/run/s.sock"
pid_file = "${dir}/run/supervisor.pid"
log_file = "${dir}/run/supervisor.log"
`,
  );
  const child = spawn(process.execPath, [MAIN, "-c", file], { stdio: ["ignore", "ignore", "pipe"] });
  started.push(child);
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const http: TestVmm["http"] = (verb, path, options = {}) =>
    new Promise((resolve, reject) => {
      const outgoing = request(
        {
          host: "127.0.0.1",
          port,
          method: verb,
          path,
          agent: false,
          headers: { ...options.headers, "content-length": Buffer.byteLength(options.body ?? "") },
        },
        (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
          response.once("end", () =>
            resolve({
              status: response.statusCode ?? 0,
              text,
              headers: response.headers,
              get json(): never {
                return JSON.parse(text) as never;
              },
            }),
          );
        },
      );
      outgoing.once("error", reject);
      outgoing.end(options.body);
    });
  const call = (method: string, body: object): Promise<Answer> =>
    http("POST", `/prpc/${method}?json`, {
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });
  const end: TestVmm["end"] = (signal = "SIGTERM") =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) {
        resolve();
        return;
      }
      child.once("exit", () => resolve());
      child.kill(signal);
    });
  const vmm: TestVmm = {
    dir,
    port,
    child,
    imageHash,
    http,
    rpc: async (method, body = {}) => {
      const answer = await call(method, body);
      assert.equal(answer.status, 200, `${method}: ${answer.text}`);
      return answer.json;
    },
    refusal: async (method, body = {}) => {
      const answer = await call(method, body);
      assert.equal(answer.status, 400, `${method} was not refused: ${answer.text}`);
      return (answer.json as { error: string }).error;
    },
    end,
    endAll: async () => {
      await end();
      await endSupervisor(dir);
    },
    stderr: () => stderr,
  };
  for (let i = 0; i < 400; i++) {
    if (
      await http("GET", "/prpc/Version").then(
        () => true,
        () => false,
      )
    )
      return vmm;
    if (child.exitCode !== null) throw new Error(`the VMM ended: ${stderr}`);
    await sleep(50);
  }
  throw new Error(`the VMM did not come up: ${stderr}`);
}

/** Ends whatever a test left running, also one that failed. */
export async function cleanUp(): Promise<void> {
  for (const child of started) child.kill("SIGKILL");
  for (const dir of hosts) await endSupervisor(dir).catch(() => undefined);
}

const started: ChildProcess[] = [];
const hosts: string[] = [];

export async function endSupervisor(dir: string, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
  const pid = Number(readFileSync(join(dir, "run/supervisor.pid"), "utf8"));
  process.kill(pid, signal);
  for (let i = 0; i < 200 && alive(pid); i++) await sleep(20);
}

export const alive = (pid: number): boolean => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false;
  }
};

export const composeFile = (over: object = {}): string =>
  JSON.stringify({
    manifest_version: 2,
    name: "app",
    runner: "docker-compose",
    docker_compose_file: "services:\n  web:\n    image: nginx@sha256:" + "0".repeat(64) + "\n",
    kms_enabled: true,
    gateway_enabled: true,
    secure_time: false,
    ...over,
  });

export const vmRequest = (over: object = {}): object => ({
  name: "hello",
  image: "dstack-0.6.0",
  compose_file: composeFile(),
  vcpu: 2,
  memory: 1024,
  disk_size: 1,
  no_tee: true,
  ...over,
});

export async function until<T>(
  what: string,
  get: () => Promise<T | undefined> | T | undefined,
  timeoutMs = 15_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await get();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`never happened: ${what}`);
    await sleep(50);
  }
}

export async function info(vmm: TestVmm, id: string): Promise<VmInfoJson> {
  return (await vmm.rpc<{ info: VmInfoJson }>("GetInfo", { id })).info;
}

export const untilInfo = (
  vmm: TestVmm,
  id: string,
  holds: (vm: VmInfoJson) => boolean,
  what: string,
  timeoutMs?: number,
): Promise<VmInfoJson> =>
  until(
    what,
    async () => {
      const vm = await info(vmm, id);
      return holds(vm) ? vm : undefined;
    },
    timeoutMs,
  );

function script(path: string, text: string): void {
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
}
