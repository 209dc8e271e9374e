import {
  decodeEventLog,
  encodeEventTopics,
  getAddress,
  type Address,
  type Hex,
  type Log,
  type PublicClient,
} from "viem";
import { GovernanceError } from "../errors.ts";
import { reasonOf } from "./endpoint.ts";
import { dstackAppAbi } from "./gen/dstack-app.ts";
import { dstackKmsAbi } from "./gen/dstack-kms.ts";

/** One change of policy, as a contract told it. */
export interface PolicyEvent {
  readonly contract: Address;
  readonly kind: "kms" | "app";
  /** Name of the event, e.g. ComposeHashAdded. */
  readonly name: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly blockNumber: bigint;
  readonly transactionHash: Hex;
  /** Who made the change, where the contract says so. */
  readonly actor: Address | undefined;
  /** Place of the event in its block. */
  readonly logIndex: number;
}

/** What the contracts allow, gathered from their events. Addresses in checksum form. */
export interface ContractPolicy {
  readonly gatewayAppId: string;
  readonly osImages: readonly Hex[];
  readonly kms: { readonly mrAggregated: readonly Hex[]; readonly devices: readonly Hex[] };
  readonly apps: ReadonlyMap<Address, ContractAppPolicy>;
}

export interface ContractAppPolicy {
  readonly composeHashes: readonly Hex[];
  readonly devices: readonly Hex[];
  readonly allowAnyDevice: boolean;
  readonly requireTcbUpToDate: boolean;
  readonly revoked: boolean;
}

const ABI = { kms: dstackKmsAbi, app: dstackAppAbi } as const;
const FIRST_RANGE = 10_000n;
const MAX_EVENTS = 1_000_000;

/**
 * Every change of policy of a DstackKms and of the apps registered there, oldest first.
 * @throws GovernanceError `chain-refused` where the endpoint does not give out logs
 */
export async function readPolicyLog(
  client: PublicClient,
  kms: Address,
  range: { readonly fromBlock: bigint; readonly toBlock: bigint },
): Promise<PolicyEvent[]> {
  const ofKms = decode(await logsOf(client, [kms], range), "kms");
  const apps = [
    ...new Set(
      ofKms.filter(({ name }) => name === "AppRegistered").map(({ args }) => getAddress(String(args["appId"]))),
    ),
  ];
  const ofApps = apps.length === 0 ? [] : decode(await logsOf(client, apps, range), "app");
  return [...ofKms, ...ofApps].toSorted((a, b) =>
    a.blockNumber === b.blockNumber ? a.logIndex - b.logIndex : a.blockNumber < b.blockNumber ? -1 : 1,
  );
}

/** What holds after all these changes. Switches that only an initializer set are asked of the contract. */
export async function contractPolicy(
  client: PublicClient,
  address: Address,
  log: readonly PolicyEvent[],
  blockNumber: bigint,
): Promise<ContractPolicy> {
  const kms = getAddress(address);
  const list = (contract: Address, added: string, removed: string, field: string): Hex[] => {
    const values = new Set<Hex>();
    for (const event of log) {
      if (event.contract !== contract) continue;
      if (event.name === added) values.add(event.args[field] as Hex);
      if (event.name === removed) values.delete(event.args[field] as Hex);
    }
    return [...values];
  };
  const registered = [
    ...new Set(log.filter(({ name }) => name === "AppRegistered").map(({ args }) => getAddress(String(args["appId"])))),
  ];
  const revoked = new Map(
    log.flatMap(({ name, args }) =>
      name === "AppRevoked" || name === "AppRestored"
        ? [[getAddress(String(args["appId"])), name === "AppRevoked"] as const]
        : [],
    ),
  );
  const apps = new Map<Address, ContractAppPolicy>();
  for (const app of registered) {
    const at = { address: app, abi: dstackAppAbi, blockNumber } as const;
    // An app may be anybody's contract, or none yet.
    const [allowAnyDevice, requireTcbUpToDate] = await Promise.all([
      client.readContract({ ...at, functionName: "allowAnyDevice" }).catch(() => false),
      client.readContract({ ...at, functionName: "requireTcbUpToDate" }).catch(() => false),
    ]);
    apps.set(app, {
      composeHashes: list(app, "ComposeHashAdded", "ComposeHashRemoved", "composeHash"),
      devices: list(app, "DeviceAdded", "DeviceRemoved", "deviceId"),
      allowAnyDevice,
      requireTcbUpToDate,
      revoked: revoked.get(app) ?? false,
    });
  }
  return {
    gatewayAppId: await client.readContract({
      address: kms,
      abi: dstackKmsAbi,
      functionName: "gatewayAppId",
      blockNumber,
    }),
    osImages: list(kms, "OsImageHashAdded", "OsImageHashRemoved", "osImageHash"),
    kms: {
      mrAggregated: list(kms, "KmsAggregatedMrAdded", "KmsAggregatedMrRemoved", "mrAggregated"),
      devices: list(kms, "KmsDeviceAdded", "KmsDeviceRemoved", "deviceId"),
    },
    apps,
  };
}

/** Logs of a range, in pieces as large as the endpoint gives out. */
async function logsOf(
  client: PublicClient,
  address: Address[],
  { fromBlock, toBlock }: { readonly fromBlock: bigint; readonly toBlock: bigint },
): Promise<Log<bigint, number, false>[]> {
  const logs: Log<bigint, number, false>[] = [];
  let size = FIRST_RANGE;
  for (let from = fromBlock; from <= toBlock;) {
    const to = from + size - 1n < toBlock ? from + size - 1n : toBlock;
    try {
      logs.push(...(await client.getLogs({ address, fromBlock: from, toBlock: to })));
      from = to + 1n;
    } catch (error) {
      if (size === 1n)
        throw new GovernanceError(
          "chain-refused",
          `the endpoint gives out no logs of block ${from}: ${reasonOf(error)}`,
          { cause: error },
        );
      size = size / 4n === 0n ? 1n : size / 4n;
    }
    if (logs.length > MAX_EVENTS)
      throw new GovernanceError("chain-refused", `more than ${MAX_EVENTS} events; say from which block on`);
  }
  return logs;
}

function decode(logs: readonly Log<bigint, number, false>[], kind: "kms" | "app"): PolicyEvent[] {
  const audits = new Map<string, Address>();
  const events: PolicyEvent[] = [];
  for (const log of logs) {
    const [topic] = log.topics;
    if (topic === undefined) continue;
    if (topic === AUDIT_TOPIC) {
      const actor = log.topics[1];
      if (actor !== undefined) audits.set(log.transactionHash, getAddress(`0x${actor.slice(26)}`));
      continue;
    }
    try {
      const { eventName, args } = decodeEventLog({ abi: ABI[kind], data: log.data, topics: log.topics });
      events.push({
        contract: getAddress(log.address),
        kind,
        name: eventName,
        args: (args ?? {}) as unknown as Record<string, unknown>,
        blockNumber: log.blockNumber,
        transactionHash: log.transactionHash,
        actor: undefined,
        logIndex: log.logIndex,
      });
    } catch {
      continue; // Events of other people's code.
    }
  }
  return events.map((event) => ({ ...event, actor: audits.get(event.transactionHash) }));
}

const [AUDIT_TOPIC] = encodeEventTopics({ abi: dstackKmsAbi, eventName: "PolicyChanged" });
