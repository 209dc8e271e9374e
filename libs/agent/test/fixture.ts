import { decodeAttestation, newRuntimeEvent, type Attestation, type RuntimeEvent } from "@dstack/attest";
import { parseHex } from "@dstack/bytes";
import { parseAppCompose } from "@dstack/compose";
import { createLogger } from "@dstack/log";
import { loadCa } from "@dstack/ratls";
import { ownCaIssuer, type AgentPorts, type Machine, type Tee } from "../src/index.ts";
import { ownVectors, type VectorSet } from "../../../tests/vectors/vector-sets.ts";

export const quietLog = createLogger({ name: "test", level: "off" });

/** A TEE that shows a recorded quote under whatever report data is asked for, and keeps events. */
export interface RecordedTee extends Tee {
  readonly asked: readonly Uint8Array[];
  readonly events: readonly RuntimeEvent[];
}

export function recordedTee({ bytes }: VectorSet = ownVectors): RecordedTee {
  const recorded = decodeAttestation(bytes("guest/simulator-0.6/attestation.bin"));
  const events: RuntimeEvent[] = [...recorded.runtimeEvents];
  const asked: Uint8Array[] = [];
  return {
    asked,
    events,
    emit: async (event, payload) => void events.push(newRuntimeEvent(event, payload)),
    attest: async (reportData, config): Promise<Attestation> => {
      asked.push(reportData);
      return { ...recorded, runtimeEvents: events, reportData, config };
    },
  };
}

interface AppKeysFile {
  readonly k256_key: string;
  readonly k256_signature: string;
  readonly ca_cert: string;
  readonly key_provider: { readonly None: { readonly key: string } };
}

export interface RecordedAgent extends AgentPorts {
  readonly tee: RecordedTee;
  readonly caCertificatePem: string;
}

/** The ports of a recorded guest without a KMS. @param changes members of its manifest that are others */
export function recordedPorts(
  changes: Readonly<Record<string, unknown>> = {},
  set: VectorSet = ownVectors,
): RecordedAgent {
  const bytes = set.bytes("guest/simulator-0.6/app-compose.json");
  const manifest =
    Object.keys(changes).length === 0
      ? parseAppCompose(bytes)
      : parseAppCompose(
          Buffer.from(JSON.stringify({ ...(JSON.parse(Buffer.from(bytes).toString()) as object), ...changes })),
        );
  const { vm_config: vmConfig } = set.json<{ vm_config: string }>("guest/simulator-0.6/sys-config.json");
  const file = set.json<AppKeysFile>("guest/simulator-0.6/appkeys.json");
  const caKeyPem = file.key_provider.None.key;
  const tee = recordedTee(set);
  const now = (): number => Math.floor(Date.now() / 1000);
  return {
    manifest,
    vmConfig,
    keys: { k256Key: parseHex(file.k256_key), k256Signature: parseHex(file.k256_signature) },
    caCertificatePem: file.ca_cert,
    tee,
    issuer: ownCaIssuer({ ca: loadCa(file.ca_cert, caKeyPem), tee, vmConfig, now }),
    machine,
    log: quietLog,
    now,
  };
}

const machine: Machine = {
  product: async () => ({ vendor: "", name: "" }),
  systemInfo: async () => ({
    osName: "dstack",
    osVersion: "0.6.0",
    kernelVersion: "6.1.0",
    cpuModel: "cpu @2000 MHz",
    numCpus: 2,
    totalMemory: 2048n,
    availableMemory: 1536n,
    usedMemory: 512n,
    freeMemory: 1024n,
    totalSwap: 0n,
    usedSwap: 0n,
    freeSwap: 0n,
    uptime: 60n,
    loadavgOne: 150,
    loadavgFive: 20,
    loadavgFifteen: 5,
    disks: [{ name: "/dev/vda", mountPoint: "/", totalSize: 4096n, freeSize: 1024n }],
  }),
  containers: async () => [
    { id: "abc", names: ["/<web>"], image: "i", imageId: "sha256:1", created: 5, state: "running", status: "Up" },
  ],
};
