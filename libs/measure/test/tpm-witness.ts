/**
 * A boot of an image's firmware and kernel beside a software TPM. The firmware and the kernel's
 * EFI stub measure into the TPM what a TDX guest's firmware measures into the registers, and log
 * it; the log is read out of the guest's memory.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { open } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** One event of the log, with its SHA-384 digest. */
export interface WitnessedEvent {
  readonly pcr: number;
  readonly eventType: number;
  readonly digest: Uint8Array;
  readonly data: Uint8Array;
}

export interface WitnessBoot {
  readonly qemu: string;
  readonly swtpm: string;
  /** Folder with the image's files. */
  readonly image: string;
  readonly cmdline: string;
  /** An empty folder of this boot's own. */
  readonly work: string;
}

const DEADLINE_MS = 180_000;
const POLL_MS = 100;
const MEMORY_MIB = 1024;
const SHA384 = 0x0c;
const MAX_LOG_BYTES = 1 << 20;

export const findSwtpm = (): string | undefined =>
  (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "swtpm"))
    .find((path) => existsSync(path));

/** Boots until the kernel says where the log is, reads it and ends the machine. */
export async function witnessBoot({
  qemu,
  swtpm,
  image,
  cmdline,
  work,
}: WitnessBoot): Promise<readonly WitnessedEvent[]> {
  const socket = join(work, "tpm.sock");
  const memory = join(work, "memory");
  mkdirSync(join(work, "tpm"));
  const children: ChildProcess[] = [];
  try {
    // Absolute paths: swtpm changes its folder.
    const tpm = start(children, swtpm, [
      "socket",
      "--tpm2",
      "--tpmstate",
      `dir=${join(work, "tpm")}`,
      "--ctrl",
      `type=unixio,path=${socket}`,
      "--flags",
      "startup-clear",
    ]);
    await until(tpm, "swtpm to listen", () => existsSync(socket));
    const machine = start(children, qemu, [
      "-nodefaults",
      "-display",
      "none",
      "-no-reboot",
      "-accel",
      "tcg",
      "-cpu",
      "max",
      "-smp",
      "1",
      "-m",
      `${MEMORY_MIB}M`,
      "-machine",
      "q35,smm=off,memory-backend=ram",
      "-object",
      `memory-backend-file,id=ram,size=${MEMORY_MIB}M,mem-path=${memory},share=on`,
      "-bios",
      join(image, "ovmf.fd"),
      "-kernel",
      join(image, "bzImage"),
      "-initrd",
      join(image, "initramfs.cpio.gz"),
      "-append",
      cmdline,
      "-chardev",
      `socket,id=tpm0,path=${socket}`,
      "-tpmdev",
      "emulator,id=tpm,chardev=tpm0",
      "-device",
      "tpm-crb,tpmdev=tpm",
      "-serial",
      "stdio",
    ]);
    // With the character after each number: output comes in pieces.
    const places = /efi:.* TPMFinalLog=0x([0-9a-f]+) .*TPMEventLog=0x([0-9a-f]+)\s/;
    await until(machine, "the kernel to say where the log is", () => places.test(machine.output));
    const [, finalLog = "", eventLog = ""] = places.exec(machine.output) ?? [];
    return await readLogs(memory, Number.parseInt(eventLog, 16), Number.parseInt(finalLog, 16));
  } finally {
    await Promise.all(children.map(end));
  }
}

interface Started {
  output: string;
  ended: boolean;
}

function start(children: ChildProcess[], program: string, args: readonly string[]): Started {
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: DEADLINE_MS + 20_000,
    killSignal: "SIGKILL",
  });
  const started: Started = { output: "", ended: false };
  const keep = (chunk: Buffer): string => (started.output = (started.output + chunk.toString("latin1")).slice(-65_536));
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  child.on("exit", () => (started.ended = true));
  child.on("error", (error) => {
    started.output += error.message;
    started.ended = true;
  });
  children.push(child);
  return started;
}

async function until(process: Started, what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!holds()) {
    if (process.ended || Date.now() > deadline)
      throw new Error(
        `waited for ${what}: ${process.ended ? "the process ended" : "deadline"}; ${process.output.slice(-1500)}`,
      );
    await sleep(POLL_MS);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

/**
 * Two logs as Linux keeps them: the firmware's up to the hand-over (u32 length, u32, u8 version,
 * then the log with its header) and what was measured after that (u64 version, u64 number, events).
 * Guest addresses below 2 GiB are offsets in the memory file.
 */
async function readLogs(memoryFile: string, eventLog: number, finalLog: number): Promise<readonly WitnessedEvent[]> {
  const memory = await open(memoryFile);
  try {
    const read = async (offset: number, length: number): Promise<Buffer> => {
      const { bytesRead, buffer } = await memory.read(Buffer.alloc(length), 0, length, offset);
      return buffer.subarray(0, bytesRead);
    };
    const length = (await read(eventLog, 4)).readUInt32LE();
    if (length > MAX_LOG_BYTES) throw new Error(`a log of ${length} bytes`);
    const log = await read(eventLog + 9, length);
    const { algorithms, end: afterHeader } = readHeader(log);
    const first = readEvents(log.subarray(afterHeader), algorithms, Number.POSITIVE_INFINITY);
    const count = Number((await read(finalLog + 8, 8)).readBigUInt64LE());
    return [...first, ...readEvents(await read(finalLog + 16, MAX_LOG_BYTES), algorithms, count)];
  } finally {
    await memory.close();
  }
}

/** u32 register, u32 type, 20 bytes, u32 length; "Spec ID Event03", 8 bytes, u32 number of {u16 algorithm, u16 digest length}. */
function readHeader(log: Buffer): { algorithms: ReadonlyMap<number, number>; end: number } {
  const dataBytes = log.readUInt32LE(28);
  if (log.toString("latin1", 32, 47) !== "Spec ID Event03") throw new Error("the log has no header");
  const algorithms = new Map<number, number>();
  for (let i = 0; i < log.readUInt32LE(56); i++)
    algorithms.set(log.readUInt16LE(60 + 4 * i), log.readUInt16LE(62 + 4 * i));
  return { algorithms, end: 32 + dataBytes };
}

/** u32 register, u32 type, u32 number of {u16 algorithm, digest}, u32 length, data. */
function readEvents(log: Buffer, algorithms: ReadonlyMap<number, number>, count: number): WitnessedEvent[] {
  const events: WitnessedEvent[] = [];
  for (let at = 0; at < log.length && events.length < count;) {
    const [pcr, eventType, digests] = [log.readUInt32LE(at), log.readUInt32LE(at + 4), log.readUInt32LE(at + 8)];
    at += 12;
    let digest: Uint8Array | undefined;
    for (let i = 0; i < digests; i++) {
      const algorithm = log.readUInt16LE(at);
      const length = algorithms.get(algorithm);
      if (length === undefined) throw new Error(`a digest of algorithm ${algorithm}, which the header does not list`);
      if (algorithm === SHA384) digest = new Uint8Array(log.subarray(at + 2, at + 2 + length));
      at += 2 + length;
    }
    if (digest === undefined) throw new Error("an event without a SHA-384 digest: the TPM has no such bank");
    const dataBytes = log.readUInt32LE(at);
    events.push({ pcr, eventType, digest, data: new Uint8Array(log.subarray(at + 4, at + 4 + dataBytes)) });
    at += 4 + dataBytes;
  }
  return events;
}
