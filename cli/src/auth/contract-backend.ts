import { writeFile } from "node:fs/promises";
import {
  calls,
  ChainReader,
  contractPolicy,
  dstackKmsAbi,
  endpoint,
  exactHex,
  KmsContract,
  maxBlockAge,
  readPolicyLog,
  safeTransactionFile,
  sendCall,
  type ContractCall,
  type ContractPolicy,
  type NewApp,
  type PolicyEvent,
  type SentCall,
} from "@dstack/governance/chain";
import type { Decision, PolicyChange, PolicyDocument } from "@dstack/governance";
import { parseEventLogs, type Address, type PublicClient } from "viem";
import { privateKeyToAccount, type PrivateKeyAccount } from "viem/accounts";
import { CliError } from "../terminal/errors.ts";
import type { AuthBackend } from "./backend.ts";
import { anvilProgram, dryRun } from "./dry-run.ts";

/** How changes leave this machine. */
export type Sending =
  | { readonly kind: "key"; readonly key: `0x${string}` }
  | { readonly kind: "safe"; readonly file: string; readonly safe: Address | undefined }
  /** On a copy of the chain's present state, as its owner. */
  | { readonly kind: "dry-run"; readonly sender: Address | undefined }
  | { readonly kind: "none" };

export interface ContractBackendOptions {
  readonly contract: Address;
  readonly rpcUrls: readonly string[];
  readonly chainId: number | undefined;
  readonly confirmations: number | undefined;
  /** As auth-eth takes it, so that its decision is what is told. */
  readonly maxBlockAgeSeconds: number | undefined;
  readonly fromBlock: bigint;
  readonly sending: Sending;
  /** Told of what is waited for. */
  readonly say: (text: string) => void;
}

const TIMEOUT_MS = 120_000;

/** A backend with what only contracts can do. */
export interface ContractBackend extends AuthBackend {
  readonly contract: Address;
  /** Sends calls as the options say. Returns a line about each. */
  send(list: readonly ContractCall[]): Promise<readonly string[]>;
  /** Sends the creation of a contract and gives its address. @throws CliError where nothing is sent */
  create(call: ContractCall): Promise<Address>;
  /** Has the KMS's contract make an app, and gives its id. @throws CliError where nothing is sent */
  deployApp(app: NewApp): Promise<Address>;
  /** The address that signs. @throws CliError without a key */
  sender(): Address;
  /** The code behind a proxy. */
  implementation(proxy: Address): Promise<Address>;
}

/** A policy in a DstackKms and the contracts of the apps registered there. */
export function contractBackend(options: ContractBackendOptions): ContractBackend {
  const { contract, rpcUrls, fromBlock } = options;
  const endpoints = rpcUrls.map((url) => endpoint(url, 30_000));
  const first = endpoints[0]!;
  const reader = new ChainReader({
    endpoints,
    quorum: Math.floor(endpoints.length / 2) + 1,
    chainId: options.chainId,
    confirmations: options.confirmations,
    maxBlockAgeSeconds: maxBlockAge(options.maxBlockAgeSeconds),
    deadlineMs: 60_000,
    clock: Date,
  });
  const kms = new KmsContract(contract, reader);
  const events = async (): Promise<{ readonly log: readonly PolicyEvent[]; readonly head: bigint }> => {
    const head = await first.client.getBlockNumber();
    return { log: await readPolicyLog(first.client, contract, { fromBlock, toBlock: head }), head };
  };
  const policy = async (): Promise<ContractPolicy> => {
    const { log, head } = await events();
    return contractPolicy(first.client, contract, log, head);
  };
  const send = (list: readonly ContractCall[]): Promise<readonly string[]> => sendAll(list, options);
  return {
    name: `DstackKms ${contract} by ${endpoints.map(({ name }) => name).join(", ")}`,
    selector: ` --contract ${contract} --rpc ${endpoints.map(({ name }) => name).join(",")}`,
    document: async () => documentOf(await policy()),
    apply: async (changes) => {
      const present = await policy();
      return send(changes.map((change) => callFor(contract, present, change)));
    },
    decide: async (kind, boot) => {
      const { isAllowed, reason, block } = await kms.decide(kind, boot);
      const basis = `block ${block.number} of chain ${block.chainId}`;
      return isAllowed ? { isAllowed, basis } : { isAllowed, reason, basis, ...ruleOf(reason) };
    },
    history: async () => {
      const { log } = await events();
      return {
        lines: log
          .filter(({ name }) => !HOUSEKEEPING.has(name))
          .map(({ blockNumber, actor, kind, contract: source, name, args, transactionHash }) => ({
            at: `block ${blockNumber}`,
            by: actor ?? "(not told)",
            what: [
              `${kind === "kms" ? "" : `app ${source}: `}${name} ${Object.values(args).map(String).join(" ")} (transaction ${transactionHash})`,
            ],
          })),
        broken: undefined,
      };
    },
    contract,
    send,
    create: async (call) => (await sendOne(call, options)).contractAddress ?? fail(`${call.title} gave no address`),
    deployApp: async (app) => {
      const { transactionHash } = await sendOne(calls.deployApp(contract, app), options);
      const { logs } = await first.client.getTransactionReceipt({ hash: transactionHash });
      const [deployed] = parseEventLogs({ abi: dstackKmsAbi, logs, eventName: "AppDeployedViaFactory" });
      return deployed?.args.appId ?? fail(`transaction ${transactionHash} made no app`);
    },
    sender: () => signer(options).address,
    implementation: async (proxy) =>
      `0x${((await first.client.getStorageAt({ address: proxy, slot: IMPLEMENTATION_SLOT })) ?? "").slice(-40).padStart(40, "0")}`,
  };
}

/** ERC-1967. */
const IMPLEMENTATION_SLOT = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc";

function fail(message: string): never {
  throw new CliError("failed", message);
}

function signer({ sending }: ContractBackendOptions): PrivateKeyAccount {
  if (sending.kind === "key") return privateKeyToAccount(sending.key);
  throw new CliError(
    "usage",
    sending.kind === "none"
      ? "nothing can sign this"
      : "a contract that is created needs a key: its address is not known before",
    { hint: "set PRIVATE_KEY or --key-file" },
  );
}

async function sendOne(call: ContractCall, options: ContractBackendOptions): Promise<SentCall> {
  const account = signer(options);
  const { client } = endpoint(options.rpcUrls[0]!, 30_000);
  await requireChain(client, options.chainId);
  return sendCall(call, {
    client,
    account,
    timeoutMs: TIMEOUT_MS,
    onSent: (_, hash) => options.say(`Waiting for transaction ${hash} to be confirmed...`),
  });
}

/** @throws CliError before anything is sent to another chain than the one that is meant */
async function requireChain(client: PublicClient, chainId: number | undefined): Promise<number> {
  const actual = await client.getChainId();
  if (chainId !== undefined && actual !== chainId)
    throw new CliError("failed", `the endpoint is on chain ${actual}, expected ${chainId}`, {
      hint: "nothing was sent",
    });
  return actual;
}

const HOUSEKEEPING = new Set(["Initialized"]);

function documentOf({ gatewayAppId, osImages, kms, apps }: ContractPolicy): PolicyDocument {
  const allowed = [...apps].filter(([, { revoked }]) => !revoked);
  return {
    gatewayAppId,
    osImages: [...osImages],
    kms: { mrAggregated: [...kms.mrAggregated], devices: [...kms.devices] },
    apps: Object.fromEntries(
      allowed.map(([id, { composeHashes, devices, allowAnyDevice }]) => [
        id.toLowerCase(),
        { composeHashes: [...composeHashes], devices: [...devices], ...(allowAnyDevice ? { allowAnyDevice } : {}) },
      ]),
    ),
  };
}

function callFor(kms: Address, policy: ContractPolicy, change: PolicyChange): ContractCall {
  const word = (value: string): `0x${string}` => exactHex(value, 32, change.kind);
  const app = (value: string): Address => exactHex(value, 20, "app id");
  switch (change.kind) {
    case "advisory":
      throw new CliError("usage", "contracts judge no advisories, so none needs to be allowed there");
    case "status":
      throw new CliError("usage", "contracts keep no list of TCB statuses: an app takes UpToDate alone, or any", {
        hint: "dstack auth require-tcb <app> on|off",
      });
    case "gateway":
      return calls.setGateway(kms, change.value);
    case "os-image":
      return calls.changeKmsList(kms, "os-image", word(change.value), change.isAllowed);
    case "kms":
      return calls.changeKmsList(kms, "kms-measurement", word(change.value), change.isAllowed);
    case "kms-device":
      return calls.changeKmsList(kms, "kms-device", word(change.value), change.isAllowed);
    case "compose":
    case "device":
      return calls.changeAppList(app(change.app), change.kind, word(change.value), change.isAllowed);
    case "any-device":
      return calls.setAnyDevice(app(change.app), change.isAllowed);
    case "app": {
      const id = app(change.app);
      const known = [...policy.apps].find(([address]) => address.toLowerCase() === id);
      if (change.isAllowed && known === undefined) return calls.registerApp(kms, id);
      // Registration cannot be undone, so an app is shut out by revocation and let in again by restoring it.
      return calls.setAppRevoked(kms, id, !change.isAllowed);
    }
  }
}

async function sendAll(list: readonly ContractCall[], options: ContractBackendOptions): Promise<readonly string[]> {
  const { sending, rpcUrls, contract } = options;
  const actual = await requireChain(endpoint(rpcUrls[0]!, 30_000).client, options.chainId);
  switch (sending.kind) {
    case "none":
      throw new CliError("usage", "nothing can sign this change", {
        hint: "set PRIVATE_KEY or --key-file, write a Safe's file with --safe-file, or try it with --dry-run",
      });
    case "safe":
      await writeFile(
        sending.file,
        safeTransactionFile(list, { chainId: actual, safe: sending.safe, now: Date.now() }),
        { mode: 0o644 },
      );
      return [
        `nothing was sent; ${sending.file} holds ${list.length} call${list.length === 1 ? "" : "s"} for Safe's transaction builder`,
      ];
    case "dry-run":
      return dryRun(list, { rpcUrl: rpcUrls[0]!, anvil: anvilProgram(), sender: sending.sender, kms: contract });
    case "key": {
      const lines: string[] = [];
      for (const call of list) {
        const { transactionHash, blockNumber } = await sendOne(call, options);
        lines.push(`${call.title}: transaction ${transactionHash} in block ${blockNumber}`);
      }
      return lines;
    }
  }
}

/** The rule of the file that says the same, so that both backends propose the same commands. */
function ruleOf(reason: string): Pick<Extract<Decision, { readonly isAllowed: false }>, "rule" | "field"> {
  const known = {
    "TCB status is not up to date": { rule: "requireTcbUpToDate", field: "tcbStatus" },
    "OS image is not allowed": { rule: "osImages", field: "osImageHash" },
    "Aggregated MR not allowed": { rule: "kms.mrAggregated", field: "mrAggregated" },
    "KMS is not allowed to boot on this device": { rule: "kms.devices", field: "deviceId" },
    "App not registered": { rule: "apps", field: "appId" },
    "App is revoked": { rule: "apps", field: "appId" },
    "App not deployed or invalid address": { rule: "contract of the app", field: "appId" },
    "Compose hash not allowed": { rule: "composeHashes", field: "composeHash" },
    "Device not allowed": { rule: "devices", field: "deviceId" },
  } as const;
  return Object.hasOwn(known, reason)
    ? known[reason as keyof typeof known]
    : { rule: "contract of the app", field: "appId" };
}
