import { randomBytes } from "node:crypto";
import { appId as toAppId, type AppId } from "@dstack/bytes";
import { encodeAppInfo, type AppInfoRecord } from "@dstack/attest";
import { generateP256, pkcs8Pem } from "@dstack/keys";
import { createAppCa, createCa, createLeaf, type SigningCa } from "@dstack/ratls";

export interface Identity {
  /** Chain, leaf first. */
  readonly certificatePem: string;
  readonly keyPem: string;
}

export interface TestKms {
  readonly root: SigningCa;
  /** A client certificate as the KMS issues it to a CVM. */
  client(options: ClientOptions): Identity;
  /** The gateway's RPC certificate. */
  gateway(appId: AppId, names: readonly string[]): Identity;
}

export interface ClientOptions {
  readonly appId: Uint8Array;
  readonly instanceId: Uint8Array;
  readonly composeHash?: Uint8Array;
  /** App id of the `.3` extension where it is to differ. */
  readonly namedAppId?: Uint8Array;
  readonly withoutAppInfo?: boolean;
  readonly usage?: string;
  readonly notAfter?: number;
  readonly serverOnly?: boolean;
  /** Leaves this many of the leaf's issuers out of the chain. */
  readonly chainLength?: number;
}

export const randomId = (): AppId => toAppId(new Uint8Array(randomBytes(20)));
const nowSeconds = (): number => Math.floor(Date.now() / 1_000);

export function testKms(): TestKms {
  const root = createCa({
    organization: "Dstack",
    commonName: "Dstack KMS CA",
    key: generateP256(),
    pathLength: 1,
    now: nowSeconds(),
  });
  return {
    root,
    client: (options) => {
      const ca = createAppCa({ root, key: generateP256(), appId: toAppId(options.appId), now: nowSeconds() });
      const key = generateP256();
      const leaf = createLeaf({
        issuer: ca,
        commonName: "dstack-guest-agent",
        publicPoint: key.publicPoint,
        appId: toAppId(options.namedAppId ?? options.appId),
        usage: options.usage ?? "app:custom",
        clientAuth: options.serverOnly !== true,
        serverAuth: options.serverOnly === true,
        now: nowSeconds(),
        ...(options.withoutAppInfo === true ? {} : { appInfo: encodeAppInfo(appInfo(options)) }),
        ...(options.notAfter === undefined ? {} : { notAfter: options.notAfter }),
      });
      return {
        certificatePem: [leaf.pem, ca.pem, root.pem].slice(0, options.chainLength ?? 3).join("\n"),
        keyPem: pkcs8Pem(key),
      };
    },
    gateway: (appId, names) => {
      const ca = createAppCa({ root, key: generateP256(), appId, now: nowSeconds() });
      const key = generateP256();
      const leaf = createLeaf({
        issuer: ca,
        commonName: "dstack-gateway",
        publicPoint: key.publicPoint,
        altNames: names,
        appId,
        usage: "app:custom",
        serverAuth: true,
        clientAuth: true,
        now: nowSeconds(),
      });
      return { certificatePem: [leaf.pem, ca.pem, root.pem].join("\n"), keyPem: pkcs8Pem(key) };
    },
  };
}

/** A server certificate under a CA of its own. */
export function serverCertificate(...names: string[]): Identity & { readonly caPem: string } {
  const ca = createCa({ commonName: "test CA", key: generateP256(), pathLength: 0, now: nowSeconds() });
  const key = generateP256();
  const leaf = createLeaf({
    issuer: ca,
    commonName: names[0] ?? "",
    publicPoint: key.publicPoint,
    altNames: names,
    serverAuth: true,
    now: nowSeconds(),
  });
  return { certificatePem: `${leaf.pem}\n${ca.pem}`, keyPem: pkcs8Pem(key), caPem: ca.pem };
}

function appInfo(options: ClientOptions): AppInfoRecord {
  const none = new Uint8Array(32);
  return {
    appId: options.appId,
    composeHash: options.composeHash ?? none.fill(0xcc),
    instanceId: options.instanceId,
    deviceId: none,
    mrSystem: none,
    mrAggregated: none,
    osImageHash: none,
    keyProviderInfo: new Uint8Array(),
  };
}
