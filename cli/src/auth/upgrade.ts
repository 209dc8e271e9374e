import { calls } from "@dstack/governance/chain";
import type { Cli } from "../clients/cli.ts";
import { visible } from "../terminal/output.ts";
import type { AuthUpgradeOptions } from "./options.ts";
import { addressOf, selectContract } from "./select-backend.ts";

/** `dstack auth upgrade`: to code at an address, or to this version's, which is created. */
export async function authUpgrade(
  cli: Cli,
  proxy: string,
  code: string | undefined,
  options: AuthUpgradeOptions,
): Promise<void> {
  const { print, say } = cli.out;
  const backend = await selectContract(cli, options);
  const target = addressOf(proxy, "the proxy");
  const isKms = target.toLowerCase() === backend.contract.toLowerCase();
  const implementation =
    code === undefined
      ? await backend.create(isKms ? calls.createKmsCode() : calls.createAppCode())
      : addressOf(code, "the code");
  say(`- code of ${target}: ${await backend.implementation(target)}\n+ code of ${target}: ${implementation}`);
  print((await backend.send([calls.upgrade(target, implementation)])).map(visible).join("\n"));
}
