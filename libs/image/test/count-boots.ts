/**
 * `node libs/image/test/count-boots.ts [COUNT] [IMAGE_DIR]`: boots an image's kernel that many
 * times under QEMU's emulation, through its firmware, with an initramfs that says one line and
 * powers off. Prints the seconds of each boot; ends with 1 when one did not get there.
 * A kernel is pinned only after 30 boots without a panic.
 */
import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { readImageDirectory } from "@dstack/image";
import { readBusybox } from "@dstack/image/builder";
import { run } from "@dstack/process";
import { makeCpio } from "../src/builder/cpio.ts";

const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack");
const count = Number(process.argv[2] ?? "30");
const image = await readImageDirectory(process.argv[3] ?? join(cache, "images/dstack-sim-0.6.0"));
const own = join(cache, "qemu/current/bin/qemu-system-x86_64");
const qemu = await access(own).then(
  () => own,
  () => "qemu-system-x86_64",
);
const dir = await mkdtemp(join(tmpdir(), "dstack-boots-"));

const init =
  "#!/bin/busybox sh\n/bin/busybox mount -t proc proc /proc\n/bin/busybox uname -r\necho DSTACK-USERSPACE\n/bin/busybox poweroff -f\n/bin/busybox sleep 60\n";
const busybox = await readBusybox({
  repoRoot: join(import.meta.dirname, "../../.."),
  cacheDir: join(cache, "image-build"),
});
await writeFile(
  join(dir, "initrd"),
  gzipSync(
    makeCpio([
      ...["bin", "dev", "proc"].map((path) => ({ kind: "directory", path }) as const),
      { kind: "character-device", path: "dev/console", major: 5, minor: 1 },
      { kind: "file", path: "bin/busybox", bytes: busybox, executable: true },
      { kind: "link", path: "bin/sh", target: "busybox" },
      { kind: "file", path: "init", bytes: Buffer.from(init), executable: true },
    ]),
  ),
);
const cmdline = (image.metadata.cmdline ?? "")
  .split(" ")
  .filter((word) => !word.startsWith("dstack."))
  .join(" ");
const args = [
  "-accel",
  "tcg,thread=multi,tb-size=512",
  "-cpu",
  "max",
  "-nographic",
  "-nodefaults",
  "-no-reboot",
  "-serial",
  "stdio",
  "-bios",
  image.files.bios ?? "",
  "-kernel",
  image.files.kernel,
  "-initrd",
  join(dir, "initrd"),
  "-machine",
  "q35",
  "-smp",
  "2",
  "-m",
  "2048M",
  "-append",
  cmdline,
];

const seconds: number[] = [];
let failed = 0;
try {
  console.log(`${(await run(qemu, ["--version"])).stdout.split("\n")[0]}; kernel of ${image.name}, ${count} boots`);
  for (let boot = 1; boot <= count; boot++) {
    const started = performance.now();
    const { stdout } = await run(qemu, args, { timeoutMs: 180_000, okCodes: [0, 1] }).catch((error: unknown) => ({
      stdout: String(error),
    }));
    const took = (performance.now() - started) / 1000;
    const good = stdout.includes("DSTACK-USERSPACE") && !/Kernel panic|double fault|BUG:|Oops/.test(stdout);
    if (good) seconds.push(took);
    else failed++;
    console.log(
      `${String(boot).padStart(3)}  ${took.toFixed(2)} s  ${good ? (/^\d+\.\d+\S*/m.exec(stdout)?.[0] ?? "") : "FAILED"}`,
    );
    if (!good) await writeFile(join(tmpdir(), `dstack-boot-failed-${boot}.log`), stdout);
  }
} finally {
  await rm(dir, { recursive: true, force: true });
}
const sorted = seconds.toSorted((a, b) => a - b);
console.log(
  `${count - failed} of ${count} boots reached userspace; fastest ${sorted[0]?.toFixed(2)} s, median ${sorted[Math.floor(sorted.length / 2)]?.toFixed(2)} s, slowest ${sorted.at(-1)?.toFixed(2)} s`,
);
process.exitCode = failed === 0 ? 0 : 1;
