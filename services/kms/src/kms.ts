/**
 * One KMS, from its key folder to its listeners.
 * In: a configuration that loaded. Out: a running KMS, and how to end it.
 * The order: mark and lock the key folder, open the audit log, get keys where there are none, listen.
 * When a step fails, the steps before it are undone.
 * Never: a listener before the keys and the audit log are there; two KMS on one folder.
 */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AuditLog } from "@dstack/audit-log";
import { lockFile } from "@dstack/files";
import { markKeyFolder } from "@dstack/key-folder";
import type { HttpServer } from "@dstack/rpc";
import { insecureSettings, settingsAgainstHandOver } from "./config/insecure-settings.ts";
import { startAdminListener } from "./http/admin-listener.ts";
import { startMainListener } from "./http/main-listener.ts";
import { keyFolderState } from "./keys/key-files.ts";
import { MARK_COMMAND } from "./mark-released-folder.ts";
import { kmsParts, type KmsPartsOptions } from "./kms-parts.ts";
import { Metrics } from "./metrics.ts";
import type { OpenKms } from "./open-kms.ts";
import { ReleaseGate } from "./release/release-gate.ts";
import { readyKeys, type ReadyKeysOptions } from "./setup/ready-keys.ts";
import { Status } from "./status.ts";

export interface KmsOptions extends KmsPartsOptions, ReadyKeysOptions {}

export interface Kms {
  readonly server: HttpServer;
  readonly admin: HttpServer | undefined;
  close(): Promise<void>;
}

/**
 * Opens keys and audit log, then listens; an empty key folder is set up first.
 * @throws KmsError, KeyFolderError, FileLockError, the system's error
 */
export async function startKms(options: KmsOptions): Promise<Kms> {
  const { config, log } = options;
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).toReversed()) await closer();
  };
  try {
    const kms = await openKms(options, (closer) => void closers.push(closer));
    const main = await startMainListener(kms);
    closers.push(() => main.close());
    const admin = config.admin === undefined ? undefined : await startAdminListener(kms, config.admin);
    if (admin !== undefined) closers.push(() => admin.close());
    log.info(
      {
        address: main.server.address,
        admin: admin?.address,
        domain: kms.keys.domain,
        environment: kms.status.environment,
        methods: main.methods,
      },
      "listening",
    );
    return { server: main.server, admin, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** All that is there before anybody is served. */
async function openKms(options: KmsOptions, onClose: (closer: () => Promise<void>) => void): Promise<OpenKms> {
  const { config, version, clock, log } = options;
  const insecure = insecureSettings(config).map(({ text }) => text);
  const environment = await markKeyFolder(config.keyFolder, {
    insecureSettings: insecure,
    ...((await keyFolderState(config.keyFolder)).kind === "empty" ? {} : { withoutMark: MARK_COMMAND }),
  });
  if (insecure.length > 0) log.warn({ environment, insecureSettings: insecure }, "insecure settings are in force");
  const lock = await lockFile(join(config.keyFolder, "lock"));
  onClose(() => lock.release());
  const parts = await kmsParts(options);
  await mkdir(dirname(config.auditLog), { recursive: true, mode: 0o700 });
  const audit = await AuditLog.open({ path: config.auditLog, clock, log });
  onClose(() => audit.close());
  const keys = await readyKeys(options, { ...parts, audit });
  const status = new Status({
    environment,
    insecureSettings: insecure,
    version,
    domain: keys.domain,
    attestsItself: config.selfAttestation.attestCertificate,
  });
  const gate = new ReleaseGate({
    auth: parts.auth,
    audit,
    clock,
    log,
    images: parts.caches.verifier,
    refuseAnyGateway: environment === "production",
  });
  return {
    ...parts,
    config,
    version,
    keys,
    audit,
    gate,
    status,
    metrics: new Metrics(status, audit, parts.evidence.platforms, parts.collateralDaysLeft),
    settingsAgainstHandOver: settingsAgainstHandOver(config),
    clock,
    log,
  };
}
