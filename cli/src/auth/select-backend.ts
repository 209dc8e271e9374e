import { readFile, stat } from "node:fs/promises";
import { comparable } from "@dstack/governance";
import type { Address } from "viem";
import { CliError } from "../terminal/errors.ts";
import { externalWebhook } from "../local/auth-webhook.ts";
import type { Cli } from "../clients/cli.ts";
import type { AuthBackend } from "./backend.ts";
import type { ContractBackend, Sending } from "./contract-backend.ts";
import { fileBackend } from "./file-backend.ts";
import type { SendingOptions } from "./options.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** The file unless a contract is named, by option or by the variables that the reference's tools read. */
export async function selectBackend(cli: Cli, options: SendingOptions): Promise<AuthBackend> {
  const { layout, env } = cli;
  if (options.config !== undefined && options.contract !== undefined)
    throw new CliError("usage", "--config and --contract: a policy is in one place");
  const contract =
    options.config === undefined
      ? (options.contract ?? env["KMS_CONTRACT_ADDR"] ?? env["KMS_CONTRACT_ADDRESS"])
      : undefined;
  if (contract !== undefined) return selectContract(cli, { ...options, contract });
  const external = options.config === undefined ? await externalWebhook(layout) : undefined;
  if (external !== undefined)
    throw new CliError("usage", `the local deployment asks ${external.url}, not its own policy file`, {
      hint: "say where that policy is kept: --config, or --contract and --rpc",
    });
  return fileBackend(
    { path: options.config ?? layout.authConfig, keyFolder: layout.state, env },
    options.config !== undefined,
  );
}

/** As `selectBackend`, for what only contracts have. @throws CliError `usage` */
export async function selectContract({ env, out }: Cli, options: SendingOptions): Promise<ContractBackend> {
  const contract =
    options.contract ?? env["KMS_CONTRACT_ADDR"] ?? env["KMS_CONTRACT_ADDRESS"] ?? `0x${"00".repeat(20)}`;
  const rpc = options.rpc ?? env["ETH_RPC_URL"] ?? env["RPC_URL"];
  if (rpc === undefined)
    throw new CliError("usage", "no chain is named", {
      hint: "give --rpc, or set ETH_RPC_URL where the address holds a key",
    });
  // Loaded here: what talks to chains is large, and a policy in a file needs none of it.
  const { contractBackend } = await import("./contract-backend.ts");
  return contractBackend({
    contract: addressOf(contract, "--contract"),
    rpcUrls: rpc.split(",").map((url) => url.trim()),
    chainId: whole(options.chainId ?? env["ETH_CHAIN_ID"], "--chain-id"),
    confirmations: whole(options.confirmations ?? env["ETH_FINALITY_CONFIRMATIONS"], "--confirmations"),
    maxBlockAgeSeconds: whole(env["ETH_MAX_BLOCK_AGE"], "ETH_MAX_BLOCK_AGE"),
    fromBlock: BigInt(whole(options.fromBlock, "--from-block") ?? 0),
    sending: await sendingOf(env, options),
    say: out.say,
  });
}

async function sendingOf(env: Environment, options: SendingOptions): Promise<Sending> {
  if (options.dryRun === true)
    return {
      kind: "dry-run",
      sender: options.sender === undefined ? undefined : addressOf(options.sender, "--sender"),
    };
  if (options.safeFile !== undefined)
    return {
      kind: "safe",
      file: options.safeFile,
      safe: options.safe === undefined ? undefined : addressOf(options.safe, "--safe"),
    };
  const key = options.keyFile === undefined ? env["PRIVATE_KEY"] : await readKeyFile(options.keyFile);
  if (key === undefined || key === "") return { kind: "none" };
  const hex = comparable(key.trim());
  // The text is a secret: not a part of it is shown.
  if (!/^0x[0-9a-f]{64}$/.test(hex)) throw new CliError("usage", "the private key is not 32 bytes of hex");
  return { kind: "key", key: hex as `0x${string}` };
}

async function readKeyFile(path: string): Promise<string> {
  const { mode } = await stat(path).catch((cause: unknown) => {
    throw new CliError("not-found", `--key-file ${path} cannot be read`, { cause });
  });
  if ((mode & 0o077) !== 0)
    throw new CliError("failed", `--key-file ${path} is readable by others`, { hint: `chmod 600 ${path}` });
  return readFile(path, "utf8");
}

/** @throws CliError `usage` naming the option */
export function addressOf(text: string, option: string): Address {
  const hex = comparable(text);
  if (!/^0x[0-9a-f]{40}$/.test(hex))
    throw new CliError("usage", `${option}: expected 20 bytes of hex, got "${text.slice(0, 80)}"`);
  return hex as Address;
}

function whole(text: string | undefined, option: string): number | undefined {
  if (text === undefined || text === "") return undefined;
  if (!/^\d{1,15}$/.test(text))
    throw new CliError("usage", `${option}: expected a whole number, got "${text.slice(0, 40)}"`);
  return Number(text);
}
