import { calls } from "@dstack/governance/chain";
import type { Address, Hex } from "viem";
import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { hashOf } from "./hash-from-file.ts";
import type { AuthDeployOptions } from "./options.ts";
import { addressOf, selectContract } from "./select-backend.ts";

const ZERO_HASH: Hex = `0x${"00".repeat(32)}`;

/** `dstack auth deploy kms|kms-code|app-code|app` */
export async function authDeploy(cli: Cli, what: string, options: AuthDeployOptions): Promise<void> {
  const { print, say } = cli.out;
  const done = (address: string, words: string): void => print(`${words} ${address}`);
  const backend = await selectContract(cli, options);
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
