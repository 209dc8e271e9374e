import { access, constants, statfs } from "node:fs/promises";
import { existsSync } from "node:fs";
import { freemem } from "node:os";
import { AttestError, describeShortfall } from "@dstack/attest";
import { askWebhookInfo, emptyListNotes } from "@dstack/governance";
import { ProcessError, run } from "@dstack/process";
import { readPolicyFile } from "../auth/policy-file.ts";
import type { Cli } from "../clients/cli.ts";
import { table } from "../terminal/output.ts";
import type { StackLayout } from "../local/layout.ts";
import { CliError } from "../terminal/errors.ts";
import { issueName, judgePlatforms, type PlatformVerdict } from "../tcb/status.ts";
import { askedAs, externalWebhook } from "../local/auth-webhook.ts";
import type { DoctorOptions } from "./options.ts";
import { qemuProgram } from "../local/places.ts";
import { collateralLeft } from "./collateral-left.ts";
import { accepts } from "./ports.ts";

interface Finding {
  readonly name: string;
  readonly result: "ok" | "missing" | "note";
  readonly detail: string;
}

/** `dstack doctor`: what this machine has, what it lacks and what that means. Exit code 1 when something needed is missing. */
export async function doctor(cli: Cli, { output }: DoctorOptions): Promise<number> {
  const { layout, env, out } = cli;
  const findings = await Promise.all([
    root(),
    program("qemu", qemuProgram(layout, env), ["--version"], "boots the guests; the bootstrap fetches it"),
    program("wg", "wg", ["--version"], "apt-get install wireguard-tools"),
    program("ip", "ip", ["-V"], "apt-get install iproute2"),
    device("/dev/kvm", "hardware virtualisation; without it guests are emulated (slower, works)"),
    device("/dev/net/tun", "carries the gateway's tunnel where the kernel has no WireGuard"),
    device("/dev/vhost-vsock", "host-guest sockets; without it a virtio-serial port does the same"),
    tdx(),
    platform(cli),
    collateralLeft(env, Date.now()),
    disk(layout),
    memory(),
    authorization(layout),
    ...Object.entries(layout.ports)
      .filter(([name]) => name !== "wireguard")
      .map(([name, port]) => portState(name, port)),
  ]);
  if (output === "json") out.json(findings);
  else
    out.print(
      table(
        ["", "WHAT", "DETAIL"],
        findings.map(({ name, result, detail }) => [result, name, detail]),
      ),
    );
  return findings.some(({ result }) => result === "missing") ? 1 : 0;
}

async function root(): Promise<Finding> {
  const isRoot = process.getuid?.() === 0;
  return {
    name: "root",
    result: isRoot ? "ok" : "missing",
    detail: isRoot ? "running as root" : "the gateway needs to make a network interface: run with sudo -E",
  };
}

async function program(name: string, path: string, args: readonly string[], mend: string): Promise<Finding> {
  try {
    const { stdout, stderr } = await run(path, args, { timeoutMs: 10_000, okCodes: [0, 1] });
    return { name, result: "ok", detail: (stdout || stderr).split("\n")[0] ?? "" };
  } catch (error) {
    if (!(error instanceof ProcessError)) throw error;
    return { name, result: "missing", detail: `${path} cannot be run (${error.code}): ${mend}` };
  }
}

async function device(path: string, meaning: string): Promise<Finding> {
  const usable = await access(path, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  return { name: path, result: usable ? "ok" : "note", detail: usable ? "there" : `not there: ${meaning}` };
}

/** What the guests of this machine can prove of it, today and by what Intel has announced. */
async function platform(cli: Cli): Promise<Finding> {
  const name = "TCB of the platform";
  let verdicts: readonly PlatformVerdict[];
  try {
    verdicts = await judgePlatforms(cli, undefined, { evaluation: [], early: true, pccs: [] });
  } catch (error) {
    if (!(error instanceof CliError || error instanceof AttestError)) throw error;
    return { name, result: "note", detail: `not known: ${error.message}` };
  }
  const issues = verdicts.flatMap((verdict) => verdict.issues);
  const detail = issues.map(({ issue, status, reason, shortfall }) =>
    [`${issueName(issue)} ${status ?? "not known"}`, shortfall === undefined ? reason : describeShortfall(shortfall)]
      .filter((part) => part !== undefined)
      .join(": "),
  );
  return {
    name,
    result: issues.every(({ ok }) => ok === true) ? "ok" : "note",
    detail: [...new Set(detail)].join("; "),
  };
}

async function tdx(): Promise<Finding> {
  const there = existsSync("/sys/module/kvm_intel/parameters/tdx");
  return {
    name: "Intel TDX",
    result: there ? "ok" : "note",
    detail: there
      ? "the kernel can host TDX guests"
      : "not there: guests run with a simulated TEE, whose evidence proves nothing about hardware",
  };
}

async function disk(layout: StackLayout): Promise<Finding> {
  const { bavail, bsize } = await statfs(existsSync(layout.cache) ? layout.cache : "/");
  const gib = (bavail * bsize) / 2 ** 30;
  return {
    name: "disk",
    result: gib >= 8 ? "ok" : "missing",
    detail: `${gib.toFixed(1)} GiB free for ${layout.cache}; 8 are needed`,
  };
}

async function memory(): Promise<Finding> {
  const gib = freemem() / 2 ** 30;
  return { name: "memory", result: gib >= 3 ? "ok" : "note", detail: `${gib.toFixed(1)} GiB free; a guest takes 2` };
}

async function authorization(layout: StackLayout): Promise<Finding> {
  const external = await externalWebhook(layout);
  if (external === undefined) return ownPolicy(layout);
  const info = await askWebhookInfo(askedAs(external));
  if (typeof info !== "string" && info.configError !== "")
    return {
      name: "authorization",
      result: "note",
      detail: `by ${external.url}, whose policy is older than its file: ${info.configError}; mend the file, or what was denied last is still allowed`,
    };
  return typeof info === "string"
    ? { name: "authorization", result: "note", detail: `by ${external.url}: ${info}; no app can boot until it answers` }
    : { name: "authorization", result: "ok", detail: `by ${external.url}, which answers` };
}

/** A file that was written for dstack-auth may mean more there than here. */
async function ownPolicy({ authConfig }: StackLayout): Promise<Finding> {
  const by = `by the deployment's own webhook and ${authConfig}`;
  try {
    const policy = await readPolicyFile(authConfig);
    // Without any app the lists are empty because nothing was deployed.
    const notes = Object.keys(policy.apps ?? {}).length === 0 ? [] : emptyListNotes(policy);
    return { name: "authorization", result: notes.length === 0 ? "ok" : "note", detail: [by, ...notes].join("; ") };
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    return { name: "authorization", result: "note", detail: `${by}: ${error.message}` };
  }
}

async function portState(name: string, port: number): Promise<Finding> {
  return {
    name: `port ${port}`,
    result: "ok",
    detail: (await accepts(port))
      ? `in use (${name}): the local deployment is up, or another program has it`
      : `free (${name})`,
  };
}
