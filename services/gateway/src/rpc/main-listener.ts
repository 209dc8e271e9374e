/**
 * What CVMs, peers and operators can ask of this gateway.
 * In: calls over TLS (RegisterCvm, GetPeers, Info) and over the admin listener (Status, GetInfo). Out: their answers.
 * Each row says who may call it; the identity comes from ../identity.
 * Key and certificate can be read again while it serves; a pair that cannot be used leaves the old one.
 * Never: an administration without its token, unless the configuration says so; a registration without identity.
 */
import { constants, createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { SecureContextOptions } from "node:tls";
import type { Logger } from "@dstack/log";
import { parseCertificates, readDstackExtensions } from "@dstack/ratls";
import { mount, startHttpServer, type HttpServer } from "@dstack/rpc";
import { VERSION_TEXT } from "@dstack/proto/wire";
import type { GatewayConfig } from "../config/gateway-config.ts";
import { GatewayError } from "../errors.ts";
import { acmeInfo, acmeInfoJson } from "../node-info.ts";
import { gatewayService, type GatewayServiceOptions } from "./gateway-service.ts";

export type MainListenerOptions = Omit<GatewayServiceOptions, "roots" | "ownAppId"> & { readonly log: Logger };

export interface MainListener {
  readonly address: string;
  readonly port: number;
  /** Reads key and certificate again. @throws GatewayError with the old pair still in service */
  reload(): Promise<void>;
  close(): Promise<void>;
}

interface Identity {
  readonly tls: SecureContextOptions;
  /** App id in the certificate, where the KMS issued it. */
  readonly appId: Uint8Array | undefined;
}

/** The RPC listener: TLS, with client certificates asked for and judged by this process, not by the TLS library. */
export async function startMainListener(options: MainListenerOptions): Promise<MainListener> {
  const { config } = options;
  let identity = await readIdentity(config, options.log);
  const roots = await readRoots(config.raw.tls.mutual.ca_certs);
  const service = gatewayService({
    ...options,
    roots,
    ownAppId: () => identity.appId,
  });
  const server: HttpServer = await startHttpServer({
    listen: config.main,
    tls: { ...identity.tls, requestClientCertificate: true },
    mounts: [mount("/prpc/", service)],
    routes: [
      {
        verbs: ["GET"],
        path: "/health",
        handle: async ({ response }) =>
          void response.writeHead(200, { "content-type": "text/plain; charset=utf-8" }).end("OK"),
      },
      {
        verbs: ["GET"],
        path: "/acme-info",
        handle: async ({ response }) => {
          const body = JSON.stringify(
            acmeInfoJson(acmeInfo(config.staticCertificate?.baseDomain ?? "", options.certificates.current)),
          );
          response.writeHead(200, { "content-type": "application/json" }).end(body);
        },
      },
    ],
    headers: { "x-app-version": VERSION_TEXT, server: config.raw.ident },
    log: options.log,
  });
  return {
    address: server.address,
    port: server.port,
    reload: async () => {
      identity = await readIdentity(config, options.log);
      server.setSecureContext(identity.tls);
    },
    close: () => server.close(),
  };
}

async function readIdentity(config: GatewayConfig, log: Logger): Promise<Identity> {
  const { key: keyPath, certs: certPath } = config.raw.tls;
  const { rpc_domain: domain } = config.raw.core;
  try {
    const [key, cert] = await Promise.all([readFile(keyPath, "utf8"), readFile(certPath, "utf8")]);
    const leaf = new X509Certificate(cert);
    if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error("the key is not the certificate's");
    if (domain !== "" && !names(leaf, domain))
      log.warn(
        { setting: `core.rpc_domain = "${domain}"`, certificate: certPath },
        "the RPC certificate does not carry this name: CVMs that call the gateway by it will not trust it",
      );
    // A resumed session would have the leaf alone, without the chain that proves it.
    return { tls: { key, cert, secureOptions: constants.SSL_OP_NO_TICKET }, appId: appIdOf(leaf) };
  } catch (cause) {
    throw new GatewayError(
      "certificate-unusable",
      `RPC certificate tls.certs ${certPath} with tls.key ${keyPath}: ${(cause as Error).message}. A KMS for development makes one: issue-development-certificate`,
      { cause },
    );
  }
}

/** The common name counts as well: certificates that the guide has people make carry no other. */
function names(leaf: X509Certificate, domain: string): boolean {
  if (leaf.subject.split("\n").includes(`CN=${domain}`)) return true;
  return (isIP(domain) === 0 ? leaf.checkHost(domain) : leaf.checkIP(domain)) !== undefined;
}

/** Certificates that no KMS made (openssl's, say) serve as well; they just name no app. */
function appIdOf(leaf: X509Certificate): Uint8Array | undefined {
  try {
    return readDstackExtensions(new Uint8Array(leaf.raw)).appId;
  } catch {
    return undefined;
  }
}

async function readRoots(path: string): Promise<ReturnType<typeof parseCertificates>> {
  try {
    const roots = parseCertificates(await readFile(path, "utf8"));
    if (roots.length === 0) throw new Error("it holds no certificate");
    return roots;
  } catch (cause) {
    throw new GatewayError(
      "certificate-unusable",
      `tls.mutual.ca_certs ${path}: ${(cause as Error).message}. Put the KMS's root CA certificate there`,
      { cause },
    );
  }
}
