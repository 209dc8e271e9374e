import { access, constants, readFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { run } from "@dstack/process";
import type { Logger } from "@dstack/log";
import { VmmError } from "../errors.ts";

const NAME = "qemu-system-x86_64";
const CLIENT_CONF = "/etc/dstack/client.conf";

export interface QemuBinary {
  readonly path: string;
  /** The disk tool that came with it. */
  readonly imgPath: string;
  /** Undefined when it cannot be told. */
  readonly version: string | undefined;
}

export interface FindQemuOptions {
  /** `cvm.qemu_path`; "" looks further. */
  readonly configured: string;
  /** `cvm.qemu_version`; undefined asks the program. */
  readonly version: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
}

/** @throws VmmError `qemu-unusable` */
export async function findQemu({ configured, version, env, log }: FindQemuOptions): Promise<QemuBinary> {
  const path = await firstExecutable(await candidates(configured, env));
  if (path === undefined) {
    const where =
      configured === ""
        ? "set cvm.qemu_path or DSTACK_QEMU_DIR, or install qemu-system-x86"
        : `cvm.qemu_path is ${configured}`;
    throw new VmmError("qemu-unusable", `no runnable ${NAME}: ${where}`);
  }
  return {
    path,
    imgPath: (await firstExecutable([join(dirname(path), "qemu-img")])) ?? "qemu-img",
    version: version ?? (await askVersion(path, log)),
  };
}

/** The version in what `--version` prints; undefined when there is none. */
export function parseQemuVersion(output: string): string | undefined {
  const words = (output.split("\n")[0] ?? "").split(/\s+/);
  const isVersion = (word: string | undefined): word is string =>
    word !== undefined && /^\d/.test(word) && (word.includes(".") || /^[\d-]+$/.test(word));
  const after = words[words.indexOf("version") + 1];
  const found = words.includes("version") && isVersion(after) ? after : words.find(isVersion);
  return found?.split("+")[0];
}

/** TCG before version 10 crashes guests now and then. @throws VmmError `qemu-unusable` */
export function checkTcgVersion({ path, version }: QemuBinary): void {
  const major = Number(/^(\d+)\./.exec(version ?? "")?.[1] ?? Number.NaN);
  if (major < 10)
    throw new VmmError(
      "qemu-unusable",
      `${path} has version ${version}; without KVM at least 10.0 is needed, since older ones crash guests at random; install a newer QEMU or set cvm.qemu_path`,
    );
}

async function candidates(configured: string, env: FindQemuOptions["env"]): Promise<string[]> {
  if (configured !== "") return [configured];
  const folder = env["DSTACK_QEMU_DIR"];
  const fromFile = /^\s*\[qemu\]\s*(?:\n(?!\s*\[).*)*?\n\s*path\s*=\s*["']?([^"'\n]+)["']?/m
    .exec(await readFile(CLIENT_CONF, "utf8").catch(() => ""))?.[1]
    ?.trim();
  return [
    ...(folder === undefined || folder === "" ? [] : [join(folder, "bin", NAME)]),
    ...(fromFile === undefined ? [] : [fromFile]),
    ...(env["PATH"] ?? "")
      .split(delimiter)
      .filter((part) => part.startsWith("/"))
      .map((part) => join(part, NAME)),
  ];
}

async function firstExecutable(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    const usable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (usable) return path;
  }
  return undefined;
}

async function askVersion(path: string, log: Logger): Promise<string | undefined> {
  try {
    const { stdout } = await run(path, ["--version"], { timeoutMs: 20_000 });
    return parseQemuVersion(stdout);
  } catch (error) {
    log.warn({ qemu: path, error: (error as Error).message }, "QEMU's version is unknown");
    return undefined;
  }
}
