import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AuditLog } from "@dstack/audit-log";
import { lockFile } from "@dstack/files";
import { markKeyFolder } from "@dstack/key-folder";
import { mount, startHttpServer, type DescribedRoute, type HttpServer } from "@dstack/rpc";
import { backupRoute, restoreRoutes } from "./backup/backup-routes.ts";
import { Restore, type RestoreRecord } from "./backup/restore.ts";
import { firstAttestedCertificate, refreshAttestedCertificate } from "./certificates/rpc-certificate.ts";
import { insecureSettings, settingsAgainstHandOver } from "./config/insecure-settings.ts";
import type { AdminConfig } from "./config/kms-config.ts";
import { ADMIN_LOGINS, adminCredentials } from "@dstack/http";
import { parseHtpasswd, passwordCheck } from "./http/htpasswd.ts";
import { startAdminServer, type AdminOptions } from "./http/admin.ts";
import { apiDescriptionRoute } from "./http/api-description.ts";
import { httpRoutes } from "./http/http-routes.ts";
import { attestRoots, type Attest } from "./keys/bootstrap.ts";
import { installRootKeys, requireNoKeys } from "./keys/install-root-keys.ts";
import { openKeyStore, settleKeyFolder, type KeyStore } from "./keys/key-store.ts";
import { kmsParts, readConfigured, type KmsParts, type KmsPartsOptions } from "./kms-parts.ts";
import { kmsService } from "./kms-service.ts";
import { Metrics } from "./metrics.ts";
import { onboardService, requireSelfAllowed } from "./onboard/onboard-service.ts";
import { AnonymousLimits } from "./rate-limit/anonymous-limits.ts";
import { limitWaitingConnections } from "./rate-limit/waiting-connections.ts";
import { ReleaseGate } from "./release/release-gate.ts";
import { DESCRIBED_SET_UP } from "./setup/described-routes.ts";
import { setUp } from "./setup/set-up.ts";
import { Status } from "./status.ts";

export interface KmsOptions extends KmsPartsOptions {
  /** Shows the operator one line that no log keeps. */
  readonly print: (line: string) => void;
  /** Ends a set-up that waits for an operator. */
  readonly signal: AbortSignal;
}

export interface Kms {
  readonly server: HttpServer;
  readonly admin: HttpServer | undefined;
  close(): Promise<void>;
}

const BACKUP: DescribedRoute = {
  path: "/backup",
  summary: "The root keys, sealed to the configured operators",
  answers: ["application/json"],
  verb: "post",
  otherwise: { 400: "Refused; the text says why" },
};
/** To send a whole request; how long its answer takes is another matter. */
const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 15_000;
/** About 70 KiB each with TLS. */
const MAX_WAITING_CONNECTIONS = 4_096;

/**
 * Opens keys and audit log, then listens; an empty key folder is set up first.
 * @throws KmsError, KeyFolderError, FileLockError, the system's error
 */
export async function startKms(options: KmsOptions): Promise<Kms> {
  const { config, version, clock, log } = options;
  const insecure = insecureSettings(config).map(({ text }) => text);
  const environment = await markKeyFolder(config.keyFolder, { insecureSettings: insecure });
  if (insecure.length > 0) log.warn({ environment, insecureSettings: insecure }, "insecure settings are in force");
  const lock = await lockFile(join(config.keyFolder, "lock"));
  const closers: (() => Promise<void>)[] = [() => lock.release()];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).toReversed()) await closer();
  };
  try {
    const parts = await kmsParts(options);
    const { keys, restored } = await readyKeys(options, parts);
    await mkdir(dirname(config.auditLog), { recursive: true, mode: 0o700 });
    const audit = await AuditLog.open({ path: config.auditLog, clock, log });
    closers.push(() => audit.close());
    if (restored !== undefined) await audit.append({ action: "restore", outcome: "restored", ...restored });
    const status = new Status({
      environment,
      insecureSettings: insecure,
      version,
      domain: keys.domain,
      attestsItself: config.selfAttestation.attestCertificate,
    });
    const metrics = new Metrics(status);
    const gate = new ReleaseGate({
      auth: parts.auth,
      audit,
      clock,
      log,
      images: parts.caches.verifier,
      refuseAnyGateway: environment === "production",
    });
    const anonymous = new AnonymousLimits({ ...config.rateLimit, clock, onRefusal: (by) => metrics.rateLimited(by) });
    const service = anonymous.limit(
      kmsService({
        ...parts,
        keys,
        gate,
        status,
        clock,
        log,
        limits: config.limits,
        ownNames: config.ownNames,
        adminTokenHash: config.adminTokenHash,
        settingsAgainstHandOver: settingsAgainstHandOver(config),
      }),
    );
    const attested = { keyFolder: config.keyFolder, keys, self: parts.self, clock, log };
    const { attestCertificate } = config.selfAttestation;
    const server = await startHttpServer({
      listen: config.listen,
      // The leaf alone: peers get the root from GetTempCaCert and trust nothing that comes with the connection.
      tls: {
        key: keys.rpcKeyPem,
        cert: attestCertificate ? await firstAttestedCertificate(attested) : keys.rpcCertificatePem,
        requestClientCertificate: true,
      },
      mounts: [mount("/prpc/", service)],
      routes: httpRoutes({
        status,
        metrics: config.metricsEnabled ? metrics : undefined,
        audit,
        auth: parts.auth,
        selfAuthorization: parts.selfAuthorization,
        clock,
        service,
      }),
      guard: (exchange) => {
        const { url, response } = exchange;
        response.once("finish", () => metrics.observe(url.pathname, response.statusCode));
        return Promise.resolve(anonymous.admit(exchange, service));
      },
      headers: { "x-app-version": `v${version} (git:${"0".repeat(20)})` },
      log,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      headersTimeoutMs: HEADERS_TIMEOUT_MS,
      maxConnections: 2 * MAX_WAITING_CONNECTIONS,
    });
    limitWaitingConnections(server.server, MAX_WAITING_CONNECTIONS);
    closers.push(() => server.close());
    if (attestCertificate) {
      const stopRefreshing = refreshAttestedCertificate(server, attested);
      closers.push(async () => stopRefreshing());
    }
    const admin =
      config.admin === undefined
        ? undefined
        : await startAdminServer({
            listen: config.admin,
            auth: await adminAuth(config.admin),
            caches: parts.caches,
            version,
            log,
            routes: [
              {
                described: BACKUP,
                ...backupRoute({
                  roots: { rootCa: keys.rootCa.key, tempCa: keys.tempCa.key, rootK256: keys.rootK256 },
                  operators: config.backup,
                  settingsAgainstHandOver: settingsAgainstHandOver(config),
                  audit,
                  clock,
                  log,
                }),
              },
            ],
          });
    if (admin !== undefined) closers.push(() => admin.close());
    log.info(
      {
        address: server.address,
        admin: admin?.address,
        domain: keys.domain,
        environment,
        methods: service.routes.map(({ method }) => `/prpc/${method}`),
      },
      "listening",
    );
    return { server, admin, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The keys of the folder, which gets them first where it has none, and what is to be recorded of that. */
async function readyKeys(
  { config, version, clock, log, print, signal }: KmsOptions,
  parts: KmsParts,
): Promise<{ readonly keys: KeyStore; readonly restored: RestoreRecord | undefined }> {
  const { keyFolder: folder, selfAttestation } = config;
  const now = (): number => Math.floor(clock.now() / 1000);
  let restore: Restore | undefined;
  if ((await settleKeyFolder(folder, log)) === "empty") {
    const attest: Attest = selfAttestation.attestCertificate
      ? (reportData) => parts.self.attest(reportData)
      : undefined;
    restore = new Restore({
      log,
      operators: config.backup,
      self: selfAttestation.attestCertificate ? parts.self : undefined,
      authorize: async () => {
        await requireNoKeys(folder, "KMS has already been bootstrapped");
        await requireSelfAllowed(parts.selfAuthorization, "KMS is not allowed to restore");
      },
      install: async (roots, domain) =>
        installRootKeys({ folder, roots, domain, now: now(), evidence: await attestRoots(roots, attest) }),
    });
    const service = (finish: () => Promise<void>): ReturnType<typeof onboardService> =>
      onboardService({
        ...parts,
        folder,
        clock,
        log,
        finish,
        siteName: config.setUp.siteName,
        attestRoots: selfAttestation.attestCertificate,
      });
    await setUp({
      config,
      now: now(),
      log,
      print,
      signal,
      attest,
      service,
      authorizeBootstrap: () => requireSelfAllowed(parts.selfAuthorization, "KMS is not allowed to auto-bootstrap"),
      routes: [
        ...restoreRoutes(restore),
        apiDescriptionRoute({
          title: "dstack KMS set-up",
          version,
          service: service(() => Promise.resolve()),
          routes: DESCRIBED_SET_UP,
        }),
      ],
    });
  }
  return {
    keys: await openKeyStore({ folder, domain: config.autoBootstrapDomain, now: now() }),
    restored: restore?.record,
  };
}

async function adminAuth({ token, htpasswdFile }: AdminConfig): Promise<AdminOptions["auth"]> {
  if (token === undefined && htpasswdFile === undefined) return undefined;
  const users =
    htpasswdFile === undefined
      ? undefined
      : parseHtpasswd(await readConfigured(htpasswdFile, "core.admin.htpasswd_file"));
  return adminCredentials({
    rules: ADMIN_LOGINS.kms,
    tokens: token === undefined ? [] : [token],
    ...(users === undefined ? {} : { isUser: passwordCheck(users) }),
  });
}
