import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { intelTrustAnchor, trustAnchorFromPem, type TrustAnchor } from "@dstack/attest";
import { CollateralFetcher } from "@dstack/attest/node";
import { AuditLog } from "@dstack/audit-log";
import { lockFile } from "@dstack/files";
import { ImageStore } from "@dstack/image/store";
import { markKeyFolder } from "@dstack/key-folder";
import type { Logger } from "@dstack/log";
import { mount, startHttpServer, type HttpServer } from "@dstack/rpc";
import { insecureSettings, type AdminConfig, type KmsConfig } from "./config.ts";
import { KmsError } from "./errors.ts";
import { AdminAuth, parseHtpasswd } from "./http/admin-auth.ts";
import { startAdminServer } from "./http/admin.ts";
import { httpRoutes } from "./http/http-routes.ts";
import { noImageVerification, osImageVerifier } from "./image/os-image-verifier.ts";
import { openKeyStore, settleKeyFolder } from "./keys/key-store.ts";
import { kmsService } from "./kms-service.ts";
import { Metrics } from "./metrics.ts";
import { devAuthApi, webhookAuthApi, type AuthApi } from "./release/auth-api.ts";
import { ReleaseGate } from "./release/release-gate.ts";
import { setUp } from "./setup/set-up.ts";
import { Status } from "./status.ts";

export interface KmsOptions {
  readonly config: KmsConfig;
  readonly version: string;
  readonly clock: { now(): number };
  readonly log: Logger;
}

export interface Kms {
  readonly server: HttpServer;
  readonly admin: HttpServer | undefined;
  close(): Promise<void>;
}

/** Opens keys and audit log, then listens. @throws KmsError, KeyFolderError, FileLockedError, the system's error */
export async function startKms({ config, version, clock, log }: KmsOptions): Promise<Kms> {
  requireBuilt(config);
  const insecure = insecureSettings(config);
  const environment = await markKeyFolder(config.keyFolder, { insecureSettings: insecure });
  if (insecure.length > 0) log.warn({ environment, insecureSettings: insecure }, "insecure settings are in force");
  const lock = await lockFile(join(config.keyFolder, "lock"));
  const closers: (() => Promise<void>)[] = [() => lock.release()];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).toReversed()) await closer();
  };
  try {
    const now = Math.floor(clock.now() / 1000);
    if ((await settleKeyFolder(config.keyFolder, log)) === "empty") await setUp({ config, now, log });
    const keys = await openKeyStore({ folder: config.keyFolder, domain: config.autoBootstrapDomain, now });
    await mkdir(dirname(config.auditLog), { recursive: true, mode: 0o700 });
    const audit = await AuditLog.open({ path: config.auditLog, clock, log });
    closers.push(() => audit.close());
    const status = new Status({ environment, insecureSettings: insecure, version, domain: keys.domain });
    const metrics = new Metrics(status);
    const images = new ImageStore({ ...config.image, timeoutMs: config.image.downloadTimeoutMs, log });
    const caches = { images, verifier: config.image.verify ? osImageVerifier(images) : noImageVerification };
    const auth = authApi(config, version, clock);
    const gate = new ReleaseGate({
      auth, audit, clock, log,
      images: caches.verifier,
      refuseAnyGateway: environment === "production",
    });
    const evidence = { collateral: new CollateralFetcher({ pccsUrl: config.pccsUrl, clock }), trustAnchor: await trustAnchor(config), clock };
    const service = kmsService({ keys, auth, gate, evidence, caches, limits: config.limits, adminTokenHash: config.adminTokenHash, status, clock, log });
    const server = await startHttpServer({
      listen: config.listen,
      // The leaf alone: peers get the root from GetTempCaCert and trust nothing that comes with the connection.
      tls: { key: keys.rpcKeyPem, cert: keys.rpcCertificatePem, requestClientCertificate: true },
      mounts: [mount("/prpc/", service)],
      routes: httpRoutes({ status, metrics: config.metricsEnabled ? metrics : undefined, audit, auth }),
      guard: ({ url, response }) => {
        response.once("finish", () => metrics.observe(url.pathname, response.statusCode));
        return Promise.resolve(true);
      },
      headers: { "x-app-version": `v${version}` },
      log,
    });
    closers.push(() => server.close());
    const admin = config.admin === undefined ? undefined : await startAdminServer({ listen: config.admin, auth: await adminAuth(config.admin), caches, log });
    if (admin !== undefined) closers.push(() => admin.close());
    log.info({ address: server.address, admin: admin?.address, domain: keys.domain, environment, methods: service.routes.map(({ method }) => `/prpc/${method}`) }, "listening");
    return { server, admin, close };
  } catch (error) {
    await close();
    throw error;
  }
}

// Refused rather than ignored: a KMS that was told to attest itself must not run unattested.
function requireBuilt({ selfAttestation }: KmsConfig): void {
  const wanted = [
    ...(selfAttestation.attestCertificate ? ["core.attest_rpc_cert"] : []),
    ...(selfAttestation.authorizeSelf ? ["core.enforce_self_authorization"] : []),
  ];
  if (wanted.length === 0) return;
  throw new KmsError("config-invalid", `${wanted.join(" and ")}: attestation of the KMS itself is not built in this version. Outside a TEE, set to false (the key folder is then marked development)`);
}

function authApi({ auth }: KmsConfig, version: string, clock: { now(): number }): AuthApi {
  return auth.kind === "dev" ? devAuthApi(auth.gatewayAppId) : webhookAuthApi({ url: auth.url, timeoutMs: auth.timeoutMs, userAgent: `dstack-kms/${version}`, clock });
}

async function adminAuth({ token, htpasswdFile }: AdminConfig): Promise<AdminAuth | undefined> {
  if (token === undefined && htpasswdFile === undefined) return undefined;
  return new AdminAuth({ token, users: htpasswdFile === undefined ? new Map() : parseHtpasswd(await readConfigured(htpasswdFile, "core.admin.htpasswd_file")) });
}

async function readConfigured(path: string, key: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new KmsError("config-invalid", `${key}: ${path} cannot be read`, { cause });
  }
}

async function trustAnchor({ tdxRootPath }: KmsConfig): Promise<TrustAnchor> {
  if (tdxRootPath === undefined) return intelTrustAnchor();
  return trustAnchorFromPem(await readConfigured(tdxRootPath, "core.attestation.root_ca.tdx"));
}
