/**
 * What the agent stands on: who gives these is the guest, or whoever plays one.
 * In: the manifest as measured, the app's root key, and interfaces for the TEE, the certificates and the machine.
 * Out: nothing; these are types.
 * Never: a path, a device or a program of the guest. What a port does behind its face is not the agent's affair.
 */
import type { Attestation } from "@dstack/attest";
import type { ReportData } from "@dstack/bytes";
import type { ParsedAppCompose } from "@dstack/compose";
import type { P256Key } from "@dstack/keys";
import type { Logger } from "@dstack/log";
import type { CsrConfig } from "@dstack/ratls";

/** All that the agent answers from, complete once the app's keys are there. */
export interface AgentPorts {
  /** The manifest that was measured, with its bytes. */
  readonly manifest: ParsedAppCompose;
  /** The host's JSON text, passed through unchanged. */
  readonly vmConfig: string;
  readonly keys: AppRootKey;
  readonly tee: Tee;
  readonly issuer: CertificateIssuer;
  readonly machine: Machine;
  readonly log: Logger;
  /** Unix seconds. */
  readonly now: () => number;
}

/** The root of every key that an app derives. */
export interface AppRootKey {
  /** secp256k1 scalar, 32 bytes; secret. */
  readonly k256Key: Uint8Array;
  /** The KMS root's signature over its public key, 65 bytes; empty where there is no KMS. */
  readonly k256Signature: Uint8Array;
}

/** Measures and attests; `@dstack/tee` behind it in a guest. */
export interface Tee {
  /** Extends RTMR3 by the event and logs it. */
  emit(event: string, payload: Uint8Array): Promise<void>;
  /** Quote, firmware log and events of one moment; `config` is the vm_config text. */
  attest(reportData: ReportData, config: string): Promise<Attestation>;
}

/** Certificates for keys of the app. */
export interface CertificateIssuer {
  /** A certificate for `key`, as PEM texts, leaf first. @throws RpcError, RatlsError */
  issue(key: P256Key, config: CsrConfig): Promise<readonly string[]>;
}

/** The machine that the app runs on, as far as anybody may know it. */
export interface Machine {
  /** Who made it, for people; empty where nobody says. */
  product(): Promise<{ readonly vendor: string; readonly name: string }>;
  systemInfo(): Promise<SystemInfo>;
  /** All containers, stopped ones too. */
  containers(): Promise<readonly ContainerSummary[]>;
}

export interface SystemInfo {
  readonly osName: string;
  readonly osVersion: string;
  readonly kernelVersion: string;
  readonly cpuModel: string;
  readonly numCpus: number;
  readonly totalMemory: bigint;
  readonly availableMemory: bigint;
  readonly usedMemory: bigint;
  readonly freeMemory: bigint;
  readonly totalSwap: bigint;
  readonly usedSwap: bigint;
  readonly freeSwap: bigint;
  /** Seconds. */
  readonly uptime: bigint;
  /** Times 100, truncated. */
  readonly loadavgOne: number;
  readonly loadavgFive: number;
  readonly loadavgFifteen: number;
  readonly disks: readonly DiskInfo[];
}

export interface DiskInfo {
  readonly name: string;
  readonly mountPoint: string;
  readonly totalSize: bigint;
  readonly freeSize: bigint;
}

/** As Docker describes a container. */
export interface ContainerSummary {
  readonly id: string;
  readonly names: readonly string[];
  readonly image: string;
  readonly imageId: string;
  /** Unix seconds. */
  readonly created: number;
  readonly state: string;
  readonly status: string;
}

export interface NetworkInfo {
  readonly dnsServers: readonly string[];
  readonly gateways: readonly { readonly address: string }[];
  readonly interfaces: readonly InterfaceInfo[];
  /** What `wg show` says; it hides private keys. */
  readonly wgInfo: string;
}

export interface InterfaceInfo {
  readonly name: string;
  readonly addresses: readonly { readonly address: string; readonly prefix: number }[];
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  readonly rxErrors: bigint;
  readonly txErrors: bigint;
}
