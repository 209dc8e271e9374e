import { readFile } from "node:fs/promises";
import { calls } from "@dstack/governance/chain";
import type { Address, Hex } from "viem";
import { hashOf } from "./hash-from-file.ts";
import { addressOf, selectContract, type BackendOptions } from "./select-backend.ts";
import { CliError } from "../terminal/errors.ts";
import { print, say, visible } from "../terminal/output.ts";

type Env = NodeJS.ProcessEnv;

export interface DeployOptions extends BackendOptions {
  readonly owner?: string;
  readonly appCode?: string;
  readonly allowAnyDevice?: boolean;
  readonly requireTcb?: boolean;
  readonly disableUpgrades?: boolean;
  readonly device?: string;
  readonly compose?: string;
}

const ZERO_HASH: Hex = `0x${"00".repeat(32)}`;

/** `dstack auth deploy kms|kms-code|app-code|app` */
export async function authDeploy(env: Env, what: string, options: DeployOptions): Promise<void> {
  const backend = await selectContract(env, options);
  const owner = async (): Promise<Address> =>
    options.owner === undefined ? backend.sender() : addressOf(options.owner, "--owner");
  switch (what) {
    case "kms-code":
      return done(await backend.create(calls.createKmsCode()), "DstackKms implementation deployed to:");
    case "app-code":
      return done(await backend.create(calls.createAppCode()), "DstackApp implementation deployed to:");
    case "kms": {
      const appCode =
        options.appCode === undefined
          ? await backend.create(calls.createAppCode())
          : addressOf(options.appCode, "--app-code");
      say(`DstackApp implementation: ${appCode}`);
      const kmsCode = await backend.create(calls.createKmsCode());
      say(`DstackKms implementation: ${kmsCode}`);
      return done(
        await backend.create(calls.createKmsProxy(kmsCode, await owner(), appCode)),
        "DstackKms proxy deployed to:",
      );
    }
    case "app": {
      const composeHash =
        options.compose === undefined ? ZERO_HASH : ((await hashOf("compose", options.compose)) as Hex);
      const deviceId = options.device === undefined ? ZERO_HASH : ((await hashOf("device", options.device)) as Hex);
      const app = {
        owner: await owner(),
        disableUpgrades: options.disableUpgrades ?? false,
        requireTcbUpToDate: options.requireTcb ?? false,
        allowAnyDevice: options.allowAnyDevice ?? false,
        deviceId,
        composeHash,
      };
      return done(await backend.deployApp(app), "App ID:");
    }
    default:
      throw new CliError("usage", `"${what}": expected kms, kms-code, app-code or app`);
  }
}

const done = (address: string, words: string): void => print(`${words} ${address}`);

/** `dstack auth upgrade`: to code at an address, or to this version's, which is created. */
export async function authUpgrade(
  env: Env,
  proxy: string,
  code: string | undefined,
  options: BackendOptions,
): Promise<void> {
  const backend = await selectContract(env, options);
  const target = addressOf(proxy, "the proxy");
  const isKms = target.toLowerCase() === backend.contract.toLowerCase();
  const implementation =
    code === undefined
      ? await backend.create(isKms ? calls.createKmsCode() : calls.createAppCode())
      : addressOf(code, "the code");
  say(`- code of ${target}: ${await backend.implementation(target)}\n+ code of ${target}: ${implementation}`);
  print(visible(await backend.send([calls.upgrade(target, implementation)])));
}

/** `dstack auth transfer`, `accept`, `disable-upgrades`, `set-app-code`, `require-tcb` */
export async function authContractCall(
  env: Env,
  verb: "transfer" | "accept" | "disable-upgrades" | "set-app-code" | "require-tcb",
  first: string,
  second: string | undefined,
  options: BackendOptions,
): Promise<void> {
  const backend = await selectContract(env, options);
  const call = {
    transfer: () => calls.transferOwnership(addressOf(first, "the contract"), addressOf(second ?? "", "the new owner")),
    accept: () => calls.acceptOwnership(addressOf(first, "the contract")),
    "disable-upgrades": () => calls.disableUpgrades(addressOf(first, "the app id")),
    "require-tcb": () => calls.setRequireTcb(addressOf(first, "the app id"), onOrOff(second)),
    "set-app-code": () => calls.setAppImplementation(backend.contract, addressOf(first, "the code")),
  }[verb]();
  say(`~ ${call.title}`);
  print(visible(await backend.send([call])));
}

function onOrOff(text: string | undefined): boolean {
  if (text !== "on" && text !== "off") throw new CliError("usage", `expected on or off, got "${text ?? ""}"`);
  return text === "on";
}

/** `dstack auth set-info`: keys and evidence of a KMS, from its bootstrap-info.json or the reference's file. */
export async function authSetInfo(env: Env, file: string, options: BackendOptions): Promise<void> {
  const backend = await selectContract(env, options);
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
  } catch (cause) {
    throw new CliError("failed", `${file} is not JSON that can be read`, { cause });
  }
  const hex = (...names: string[]): Hex => {
    const value = names.map((name) => json[name]).find((candidate) => typeof candidate === "string");
    const digits = typeof value === "string" ? value.replace(/^0x/i, "").toLowerCase() : "";
    if (!/^(?:[0-9a-f]{2})*$/.test(digits)) throw new CliError("failed", `${file}: ${names[0]} is not hex`);
    return `0x${digits}`;
  };
  const info = {
    k256Pubkey: hex("k256Pubkey", "k256_pubkey"),
    caPubkey: hex("caPubkey", "ca_pubkey"),
    quote: hex("quote"),
    eventlog: hex("eventlog"),
  };
  if (info.k256Pubkey === "0x" || info.caPubkey === "0x")
    throw new CliError("failed", `${file} names no keys: expected k256_pubkey and ca_pubkey`);
  print(visible(await backend.send([calls.setKmsInfo(backend.contract, info)])));
}
