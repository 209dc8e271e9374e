import { decodeAttestation, newRuntimeEvent, type Attestation, type RuntimeEvent } from "@dstack/attest";
import { appId, instanceId, parseHex } from "@dstack/bytes";
import { parseAppCompose } from "@dstack/compose";
import { p256FromPem } from "@dstack/keys";
import { createLogger } from "@dstack/log";
import { loadCa } from "@dstack/ratls";
import type { AgentState } from "../src/agent/agent-state.ts";
import type { AppKeys } from "../src/keys/app-keys.ts";
import { certificateIssuer } from "../src/keys/certificates.ts";
import { parseSystemConfig } from "../src/host/system-config.ts";
import type { GuestTee } from "../src/identity/tee.ts";
import { vectorBytes, vectorJson } from "./vectors.ts";

export const quietLog = createLogger({ name: "test", level: "silent" });

/** A TEE that shows a recorded quote under whatever report data is asked for, and keeps events. */
export function recordedTee(): GuestTee & { readonly asked: Uint8Array[] } {
  const recorded = decodeAttestation(vectorBytes("simulator-0.6/attestation.bin"));
  const events: RuntimeEvent[] = [...recorded.runtimeEvents];
  const asked: Uint8Array[] = [];
  return {
    asked,
    events: () => events,
    emit: async (event, payload) => void events.push(newRuntimeEvent(event, payload)),
    attest: async (reportData, config): Promise<Attestation> => {
      asked.push(reportData);
      return { ...recorded, runtimeEvents: events, reportData, config };
    },
  };
}

interface AppKeysFile {
  disk_crypt_key: string;
  env_crypt_key: string;
  k256_key: string;
  k256_signature: string;
  gateway_app_id: string;
  ca_cert: string;
  key_provider: { None: { key: string } };
}

export function recordedKeys(): AppKeys {
  const file = vectorJson<AppKeysFile>("simulator-0.6/appkeys.json");
  const keyPem = file.key_provider.None.key;
  return {
    diskCryptKey: parseHex(file.disk_crypt_key),
    envCryptKey: parseHex(file.env_crypt_key),
    k256Key: parseHex(file.k256_key),
    k256Signature: parseHex(file.k256_signature),
    gatewayAppId: file.gateway_app_id,
    caCertificatePem: file.ca_cert,
    provider: { kind: "none", key: p256FromPem(keyPem), ca: loadCa(file.ca_cert, keyPem) },
  };
}

export function recordedState(
  changes: Partial<Record<string, unknown>> = {},
): AgentState & { readonly tee: ReturnType<typeof recordedTee> } {
  const bytes = vectorBytes("simulator-0.6/app-compose.json");
  const manifest =
    Object.keys(changes).length === 0
      ? parseAppCompose(bytes)
      : parseAppCompose(
          Buffer.from(JSON.stringify({ ...(JSON.parse(Buffer.from(bytes).toString()) as object), ...changes })),
        );
  const tee = recordedTee();
  const keys = recordedKeys();
  const systemConfig = parseSystemConfig(Buffer.from(vectorBytes("simulator-0.6/sys-config.json")).toString());
  const issuer = certificateIssuer({
    keys,
    tee,
    vmConfig: systemConfig.vmConfig,
    verifyEvidence: async () => undefined,
    now: () => Math.floor(Date.now() / 1000),
  });
  const identity = {
    appId: appId(parseHex("5bb4ff9a3837357f19dc176407a5709c62eb6c56")),
    instanceId: instanceId(parseHex("1691ed1b47506cad7d08834668691d88246f5b1f")),
    instanceIdSeed: new Uint8Array(20),
  };
  return {
    manifest,
    identity,
    keys,
    systemConfig,
    tee,
    issuer,
    image: { osName: "dstack", osVersion: "0.6.0", isDev: true },
    docker: {
      call: async () => [
        { Id: "abc", Names: ["/<web>"], Image: "i", ImageID: "sha256:1", Created: 5, State: "running", Status: "Up" },
      ],
    },
    dataDisks: ["/"],
    log: quietLog,
  };
}
