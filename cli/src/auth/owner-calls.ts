import { calls, type ContractCall } from "@dstack/governance/chain";
import type { Cli } from "../clients/cli.ts";
import { usage } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import type { ContractBackend } from "./contract-backend.ts";
import type { SendingOptions } from "./options.ts";
import { addressOf, selectContract } from "./select-backend.ts";

/** What only the owner of a contract may do, each one call. */

/** `dstack auth transfer` */
export const authTransfer = (cli: Cli, contract: string, to: string, options: SendingOptions): Promise<void> =>
  send(cli, options, () =>
    calls.transferOwnership(addressOf(contract, "the contract"), addressOf(to, "the new owner")),
  );

/** `dstack auth accept` */
export const authAccept = (cli: Cli, contract: string, options: SendingOptions): Promise<void> =>
  send(cli, options, () => calls.acceptOwnership(addressOf(contract, "the contract")));

/** `dstack auth disable-upgrades` */
export const authDisableUpgrades = (cli: Cli, app: string, options: SendingOptions): Promise<void> =>
  send(cli, options, () => calls.disableUpgrades(addressOf(app, "the app id")));

/** `dstack auth require-tcb` */
export const authRequireTcb = (cli: Cli, app: string, wanted: string, options: SendingOptions): Promise<void> =>
  send(cli, options, () => calls.setRequireTcb(addressOf(app, "the app id"), onOrOff(wanted)));

/** `dstack auth set-app-code` */
export const authSetAppCode = (cli: Cli, code: string, options: SendingOptions): Promise<void> =>
  send(cli, options, ({ contract }) => calls.setAppImplementation(contract, addressOf(code, "the code")));

async function send(
  cli: Cli,
  options: SendingOptions,
  callFor: (backend: ContractBackend) => ContractCall,
): Promise<void> {
  const backend = await selectContract(cli, options);
  const call = callFor(backend);
  cli.out.say(`~ ${call.title}`);
  cli.out.print((await backend.send([call])).map(visible).join("\n"));
}

function onOrOff(text: string): boolean {
  if (text !== "on" && text !== "off") usage(`expected on or off, got "${text}"`);
  return text === "on";
}
