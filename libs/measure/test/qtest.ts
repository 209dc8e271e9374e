/**
 * A QEMU that executes nothing and is driven over its qtest protocol: enough to set PCI
 * registers as firmware would and to read fw_cfg files.
 */
import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { readU32LE } from "@dstack/bytes";
import { qemuVersionIn } from "../src/qemu-profile.ts";

const PROGRAM = "qemu-system-x86_64";
const DEADLINE_MS = 20_000;
const FW_CFG_DMA = 0x514;
const FW_CFG_DIRECTORY = 0x19;
/** Guest memory for the DMA's control block and its data. */
const CONTROL = 0x1000;
const DATA = 0x10_0000;

export interface QemuAtHand {
  program: string;
  version: string;
}

/** The first QEMU of DSTACK_QEMU, DSTACK_QEMU_DIR, the cache and PATH; undefined when there is none. */
export function findQemu(): QemuAtHand | undefined {
  const { DSTACK_QEMU, DSTACK_QEMU_DIR, XDG_CACHE_HOME, PATH = "" } = process.env;
  const cache = join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "dstack/qemu/current/bin");
  const folders = [DSTACK_QEMU_DIR ?? "", cache, ...PATH.split(delimiter)].filter((folder) => folder !== "");
  const program = [DSTACK_QEMU, ...folders.map((folder) => join(folder, PROGRAM))].find(
    (path) => path !== undefined && existsSync(path),
  );
  if (program === undefined) return undefined;
  const version = qemuVersionIn(execFileSync(program, ["--version"], { encoding: "utf8", timeout: DEADLINE_MS }));
  return version === undefined ? undefined : { program, version };
}

export class Qtest {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #stderr = "";
  #dead = false;

  constructor(program: string, machine: readonly string[]) {
    // Distributions leave the qtest accelerator out; with any other, `-S` keeps the CPUs stopped.
    const driven = ["-accel", "tcg", "-S", "-qtest", "stdio", "-qtest-log", "none", "-display", "none"];
    this.#child = spawn(program, [...driven, ...machine], {
      stdio: ["pipe", "pipe", "pipe"],
      timeout: 2 * DEADLINE_MS,
      killSignal: "SIGKILL",
    });
    this.#child.stderr?.on("data", (chunk: Buffer) => (this.#stderr = (this.#stderr + chunk.toString()).slice(-2000)));
    this.#child.on("exit", () => (this.#dead = true));
    // A QEMU that ended early is reported by `ask` with what it wrote to stderr.
    this.#child.stdin?.on("error", () => (this.#dead = true));
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async close(): Promise<void> {
    if (this.#dead) return;
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await gone;
  }

  /** Writes a register of a function on the root bus. */
  async writePciConfig(slot: number, fn: number, register: number, value: number): Promise<void> {
    const address = 0x8000_0000 + slot * 0x800 + fn * 0x100 + register;
    await this.#ask(`outl 0xcf8 ${hex(address)}`);
    await this.#ask(`outl 0xcfc ${hex(value)}`);
  }

  /** The contents of a fw_cfg file, as firmware gets them. */
  async fwCfgFile(name: string): Promise<Uint8Array> {
    const directory = await this.#dma(FW_CFG_DIRECTORY, 64 * 1024);
    const view = new DataView(directory.buffer);
    for (let i = 0; i < view.getUint32(0); i++) {
      const entry = 4 + 64 * i;
      const file = String.fromCharCode(...directory.subarray(entry + 8, entry + 64)).replace(/\0.*$/s, "");
      if (file === name) return this.#dma(view.getUint16(entry + 4), view.getUint32(entry));
    }
    throw new Error(`QEMU has no fw_cfg file ${name}`);
  }

  /** The value of a fixed fw_cfg key. */
  fwCfgKey(key: number, length: number): Promise<Uint8Array> {
    return this.#dma(key, length);
  }

  async #dma(key: number, length: number): Promise<Uint8Array> {
    const control = new Uint8Array(16);
    const view = new DataView(control.buffer);
    const select = 0x08;
    const read = 0x02;
    view.setUint32(0, key * 0x1_0000 + select + read);
    view.setUint32(4, length);
    view.setBigUint64(8, BigInt(DATA));
    await this.#ask(`write ${hex(CONTROL)} 16 0x${Buffer.from(control).toString("hex")}`);
    // The register is big-endian; writing its low half starts the transfer.
    await this.#ask(`outl ${hex(FW_CFG_DMA)} 0`);
    await this.#ask(
      `outl ${hex(FW_CFG_DMA + 4)} ${hex(readU32LE(Uint8Array.of(0, 0, CONTROL >> 8, CONTROL & 0xff), 0))}`,
    );
    const status = await this.#ask(`read ${hex(CONTROL)} 4`);
    if (status !== "0x00000000") throw new Error(`fw_cfg DMA of key ${key} ended with ${status}`);
    return new Uint8Array(Buffer.from(await this.#ask(`b64read ${hex(DATA)} ${hex(length)}`), "base64"));
  }

  async #ask(command: string): Promise<string> {
    if (!this.#dead) this.#child.stdin?.write(`${command}\n`);
    const answer = await this.#lines.next();
    if (answer.done || !answer.value.startsWith("OK")) {
      throw new Error(
        `qtest ${command.slice(0, 60)}: ${answer.done ? `QEMU ended: ${this.#stderr.trim()}` : answer.value}`,
      );
    }
    return answer.value.slice(3);
  }
}

const hex = (value: number): string => `0x${value.toString(16)}`;
