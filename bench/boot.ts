import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeCpio, readBusybox } from "@dstack/image/builder";
import {
  appUrl,
  deployHello,
  HELLO_PORT,
  imageBuildFolder,
  qemuProgram,
  REPOSITORY_ROOT,
  waitForAnswer,
  waitForBoot,
  type StackLayout,
} from "@dstack/cli/testing";
import { cannotBoot, createDeployment, IMAGE } from "../tests/e2e/deployment.ts";
import { cpuTimes } from "./cpu-time.ts";

/** Lines of the serial console by which a phase is known to have ended, in order. */
const MARKERS: readonly (readonly [phase: string, line: RegExp])[] = [
  ["firmware to kernel", /Linux version|\[ {4}0\.0{6}\]/],
  ["kernel to init", /dstack-initramfs: started/],
  ["init to prepare", /phase=started/],
  ["measure", /phase=requesting app keys/],
  ["keys", /phase=keys received/],
  ["disk", /phase=data disk ready/],
  ["Docker", /phase=starting containers/],
  ["app", /Finished App Compose Service/],
];

const POLL_MS = 20;
const BOOT_TIMEOUT_MS = 10 * 60_000;

/** Phases from deploy to the first answer, beside a bare boot of the same firmware and kernel, and our own share of the CPU. */
export async function boot(): Promise<void> {
  const lack = cannotBoot();
  if (lack !== undefined) throw new Error(lack);
  const deployment = await createDeployment(25_100);
  try {
    await deployment.start();
    const { layout, env } = deployment.context;
    const cpuBefore = await cpuTimes(layout.state);
    const begun = performance.now();
    const client = await deployment.context.vmm();
    const { vmId, appId } = await deployHello(deployment.context, IMAGE);
    const folder = join(layout.vmmFolder, "vm", vmId);
    const watched = watchConsole(join(folder, "serial.log"), begun);
    await waitForBoot(client, vmId, { timeoutMs: BOOT_TIMEOUT_MS, note: () => undefined });
    await waitForAnswer(appUrl(layout, appId, HELLO_PORT), `${layout.caFolder}/ca.crt`, {
      timeoutMs: 120_000,
      note: () => undefined,
    });
    const total = (performance.now() - begun) / 1000;
    const seen = await watched.stop();
    const cpuAfter = await cpuTimes(layout.state);
    const guestCpu = guestShare(await readFile(join(folder, "serial.log"), "utf8"));
    const argv = await qemuArguments(folder);
    const bare = await bareBoot(qemuProgram(layout, env), argv, layout);
    report(
      seen,
      total,
      bare,
      { services: cpuAfter.services - cpuBefore.services, qemu: cpuAfter.qemu - cpuBefore.qemu },
      guestCpu,
    );
  } finally {
    await deployment.stop();
  }
}

function report(
  seen: ReadonlyMap<string, number>,
  total: number,
  bare: BareBoot,
  cpu: { services: number; qemu: number },
  guest: { own: number; all: number },
): void {
  const line = (name: string, seconds: number): void =>
    console.log(
      `${name.padEnd(28)} ${seconds.toFixed(1).padStart(7)} s   ${(seconds / bare.userspace).toFixed(2).padStart(6)} x`,
    );
  console.log(
    `phase                          wall        of a bare boot (${bare.userspace.toFixed(1)} s to userspace, same run)`,
  );
  let last = 0;
  for (const [phase] of MARKERS) {
    const at = seen.get(phase);
    if (at === undefined) continue;
    line(phase === "firmware to kernel" ? "VMM and firmware to kernel" : phase, at - last);
    last = at;
  }
  line("gateway", total - last);
  line("deploy to first answer", total);
  console.log(`bare QEMU: firmware to kernel ${bare.kernel.toFixed(1)} s, to userspace ${bare.userspace.toFixed(1)} s`);
  const own = cpu.services + cpu.qemu * (guest.all === 0 ? 0 : guest.own / guest.all);
  const all = cpu.services + cpu.qemu;
  console.log(
    `CPU: ${all.toFixed(1)} s in all; our own ${own.toFixed(1)} s = ${((100 * own) / all).toFixed(1)} % (host services ${cpu.services.toFixed(1)} s; guest software ${guest.own.toFixed(1)} of ${guest.all.toFixed(1)} guest CPU seconds)`,
  );
}

/** Notes when each marker first shows on a console, in seconds since `begun`. */
function watchConsole(path: string, begun: number): { stop(): Promise<ReadonlyMap<string, number>> } {
  const seen = new Map<string, number>();
  const stopped = new AbortController();
  const work = (async () => {
    while (!stopped.signal.aborted) {
      const text = await readFile(path, "utf8").catch(() => "");
      for (const [phase, line] of MARKERS)
        if (!seen.has(phase) && line.test(text)) seen.set(phase, (performance.now() - begun) / 1000);
      await sleep(POLL_MS);
    }
  })();
  return {
    stop: async () => {
      stopped.abort();
      await work;
      return seen;
    },
  };
}

function guestShare(console: string): { own: number; all: number } {
  const match = /CPU time of the boot own_cpu_s=([\d.]+) all_cpu_s=([\d.]+)/.exec(console);
  return { own: Number(match?.[1] ?? 0), all: Number(match?.[2] ?? 0) };
}

/** The command line of the QEMU that runs in a VM's folder. */
async function qemuArguments(folder: string): Promise<readonly string[]> {
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const args = (await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "")).split("\0").slice(0, -1);
    if (args.some((arg) => arg.includes(`${folder}/`)) && args.includes("-kernel")) return args;
  }
  throw new Error("the demo's QEMU is not running");
}

interface BareBoot {
  /** Seconds from start to the kernel's first line. */
  readonly kernel: number;
  /** Seconds from start to the first line of userspace. */
  readonly userspace: number;
}

/** The same QEMU, accelerator, firmware, kernel, CPUs and memory; an initramfs that says one word; no devices. */
async function bareBoot(qemu: string, argv: readonly string[], layout: StackLayout): Promise<BareBoot> {
  const folder = await mkdtemp(join(tmpdir(), "dstack-bare-"));
  try {
    const busybox = await readBusybox({ repoRoot: REPOSITORY_ROOT, cacheDir: imageBuildFolder(layout) });
    const initrd = join(folder, "initrd");
    await writeFile(
      initrd,
      makeCpio([
        { kind: "directory", path: "dev" },
        { kind: "character-device", path: "dev/console", major: 5, minor: 1 },
        { kind: "file", path: "busybox", bytes: busybox, executable: true },
        {
          kind: "file",
          path: "init",
          bytes: Buffer.from("#!/busybox sh\n/busybox echo bare-userspace\n/busybox poweroff -f\n"),
          executable: true,
        },
      ]),
    );
    const value = (name: string): string => argv[argv.indexOf(name) + 1] ?? "";
    const keep = ["-accel", "-cpu", "-bios", "-kernel", "-machine", "-smp", "-m"].flatMap((name) =>
      argv.includes(name) ? [name, value(name)] : [],
    );
    const begun = performance.now();
    const child = spawn(
      qemu,
      [
        ...keep,
        "-nographic",
        "-nodefaults",
        "-serial",
        "stdio",
        "-no-reboot",
        "-initrd",
        initrd,
        "-append",
        "console=ttyS0 panic=-1",
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    let text = "";
    let kernel = 0;
    let userspace = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      const elapsed = (performance.now() - begun) / 1000;
      if (kernel === 0 && /Linux version/.test(text)) kernel = elapsed;
      if (userspace === 0 && text.includes("bare-userspace")) userspace = elapsed;
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), 120_000);
    await new Promise((resolve) => child.once("close", resolve));
    clearTimeout(timer);
    if (userspace === 0) throw new Error(`the bare boot did not reach userspace:\n${text.slice(-2_000)}`);
    return { kernel, userspace };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
