import { parseHex, toHex } from "@dstack/bytes";
import { formatNetwork } from "@dstack/wireguard";
import type { GatewayConfig } from "./config/gateway-config.ts";
import type { ServedCertificate } from "./proxy/certificates.ts";

export interface NodeInfo {
  readonly id: number;
  readonly uuid: Uint8Array;
  readonly url: string;
  /** Unix seconds. */
  readonly lastSeen: bigint;
  readonly wgPublicKey: string;
  readonly wgIp: string;
  readonly wgEndpoint: string;
}

/** This node as CVMs and operators are told about it. */
export function nodeInfo(config: GatewayConfig, uuid: string, nowSeconds: number): NodeInfo {
  const { wireGuard } = config;
  const { sync } = config.raw.core;
  return {
    id: sync.node_id,
    uuid: parseHex(uuid),
    url: sync.my_url,
    lastSeen: BigInt(nowSeconds),
    wgPublicKey: wireGuard.publicKey,
    wgIp: formatNetwork(wireGuard.ip),
    wgEndpoint: wireGuard.endpoint,
  };
}

export interface AcmeInfo {
  readonly accountUri: string;
  /** DER SubjectPublicKeyInfo of the keys that certificates were made for. */
  readonly histKeys: Uint8Array[];
  readonly quotedHistKeys: { readonly publicKey: Uint8Array; readonly quote: string; readonly attestation: string }[];
  readonly baseDomain: string;
  /** PEM; empty while only a self-signed certificate serves. JSON only: protobuf has no number for it. */
  readonly activeCert: string;
}

/** What is known of the proxy's certificate; ACME accounts and evidence come with ordering certificates. */
export function acmeInfo(baseDomain: string, served: ServedCertificate | undefined): AcmeInfo {
  const real = served?.fromFiles === true ? served.leaf : undefined;
  const keys = real === undefined ? [] : [new Uint8Array(real.publicKey.export({ format: "der", type: "spki" }))];
  return {
    accountUri: "",
    histKeys: keys,
    quotedHistKeys: keys.map((publicKey) => ({ publicKey, quote: "", attestation: "" })),
    baseDomain,
    activeCert: real?.toString() ?? "",
  };
}

/** The JSON of the RPC, for `/acme-info`. */
export function acmeInfoJson(info: AcmeInfo): unknown {
  return {
    account_uri: info.accountUri,
    hist_keys: info.histKeys.map(toHex),
    quoted_hist_keys: info.quotedHistKeys.map((key) => ({
      public_key: toHex(key.publicKey),
      quote: key.quote,
      attestation: key.attestation,
    })),
    account_quote: "",
    account_attestation: "",
    base_domain: info.baseDomain,
    active_cert: info.activeCert,
  };
}
