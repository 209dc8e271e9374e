import { listenOfEnvironment, type TcpAddress } from "@dstack/config";
import { GovernanceError } from "@dstack/governance";
import { exactHex, maxBlockAge, originOf } from "@dstack/governance/chain";

export interface Settings {
  readonly listen: TcpAddress;
  readonly rpcUrls: readonly string[];
  readonly quorum: number;
  readonly contract: `0x${string}`;
  /** The same as the operator spelled it, which is how clients know it. */
  readonly contractAsGiven: string;
  readonly chainId: number | undefined;
  /** Undefined: the chain's finalized block. */
  readonly confirmations: number | undefined;
  readonly maxBlockAgeSeconds: number | undefined;
  readonly deadlineMs: number;
  readonly denyListPath: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The reference's variables and ours beside them. @throws GovernanceError `environment-invalid`, ConfigError naming the variable */
export function readSettings(env: Environment): Settings {
  const rpcUrls = (env["ETH_RPC_URL"] ?? "http://localhost:8545").split(",").map((url) => url.trim());
  for (const url of rpcUrls) originOf(url);
  if (new Set(rpcUrls).size !== rpcUrls.length) throw bad("ETH_RPC_URL", "each endpoint once", "one twice");
  const contract = env["KMS_CONTRACT_ADDR"] ?? `0x${"00".repeat(20)}`;
  return {
    listen: listenOfEnvironment(env, { host: "127.0.0.1", port: 8000 }),
    rpcUrls,
    quorum: whole(env, "ETH_RPC_QUORUM", rpcUrls.length) ?? Math.floor(rpcUrls.length / 2) + 1,
    contract: address(contract),
    contractAsGiven: contract,
    chainId: whole(env, "ETH_CHAIN_ID", Number.MAX_SAFE_INTEGER),
    confirmations: whole(env, "ETH_FINALITY_CONFIRMATIONS", 1_000_000),
    maxBlockAgeSeconds: maxBlockAge(whole(env, "ETH_MAX_BLOCK_AGE", 31_536_000)),
    deadlineMs: positive(whole(env, "ETH_DEADLINE_MS", 60_000)) ?? 8_000,
    denyListPath: env["DENY_LIST_PATH"],
  };
}

function address(text: string): `0x${string}` {
  try {
    return exactHex(text, 20, "KMS_CONTRACT_ADDR");
  } catch (cause) {
    throw new GovernanceError("environment-invalid", cause instanceof Error ? cause.message : "KMS_CONTRACT_ADDR", {
      cause,
    });
  }
}

const positive = (value: number | undefined): number | undefined => (value === 0 ? undefined : value);

function whole(env: Environment, name: string, most: number): number | undefined {
  const text = env[name];
  if (text === undefined || text === "") return undefined;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= most)) throw bad(name, `a whole number of 0 to ${most}`, `"${text.slice(0, 40)}"`);
  return value;
}

const bad = (name: string, expected: string, got: string): GovernanceError =>
  new GovernanceError("environment-invalid", `${name}: expected ${expected}, got ${got}`);
