import type { AuditLog } from "@dstack/audit-log";
import type { Logger } from "@dstack/log";
import { restoreRoutes } from "../backup/backup-routes.ts";
import { Restore } from "../backup/restore.ts";
import type { KmsConfig } from "../config/kms-config.ts";
import { apiDescriptionRoute } from "../http/api-description.ts";
import { attestRoots, type Attest } from "../keys/bootstrap.ts";
import { installRootKeys, requireNoKeys } from "../keys/install-root-keys.ts";
import { recordInstall } from "../keys/record-install.ts";
import { openKeyStore, settleKeyFolder, type KeyStore } from "../keys/key-store.ts";
import type { KmsParts } from "../kms-parts.ts";
import { onboardService, requireSelfAllowed } from "../onboard/onboard-service.ts";
import { DESCRIBED_SET_UP } from "./described-routes.ts";
import { setUp } from "./set-up.ts";

export interface ReadyKeysOptions {
  readonly config: KmsConfig;
  readonly version: string;
  readonly clock: { now(): number };
  readonly log: Logger;
  /** Shows the operator one line that no log keeps. */
  readonly print: (line: string) => void;
  /** Ends a set-up that waits for an operator. */
  readonly signal: AbortSignal;
}

/**
 * The keys of the folder, which gets them first where it has none; how, the audit log says before they are in place.
 * @throws KmsError, AuditLogError
 */
export async function readyKeys(
  options: ReadyKeysOptions,
  parts: KmsParts & { readonly audit: AuditLog },
): Promise<KeyStore> {
  const { config, clock, log } = options;
  if ((await settleKeyFolder(config.keyFolder, log)) === "empty") await getKeys(options, parts);
  return openKeyStore({ folder: config.keyFolder, domain: config.autoBootstrapDomain, now: seconds(clock) });
}

/** Bootstrap, onboarding or restore: whichever an operator or the configuration chooses. */
async function getKeys(options: ReadyKeysOptions, parts: KmsParts & { readonly audit: AuditLog }): Promise<void> {
  const { config, version, clock, log, print, signal } = options;
  const { self, selfAuthorization } = parts;
  const { attestCertificate } = config.selfAttestation;
  const attest: Attest = attestCertificate ? (reportData) => self.attest(reportData) : undefined;
  const restore = restoreInto(options, parts, attest);
  const service = (finish: () => Promise<void>): ReturnType<typeof onboardService> =>
    onboardService({
      ...parts,
      folder: config.keyFolder,
      clock,
      log,
      finish,
      siteName: config.setUp.siteName,
      attestRoots: attestCertificate,
      legacySources: config.legacySources,
    });
  const description = apiDescriptionRoute({
    title: "dstack KMS set-up",
    version,
    service: service(() => Promise.resolve()),
    routes: DESCRIBED_SET_UP,
  });
  await setUp({
    config,
    now: seconds(clock),
    log,
    print,
    signal,
    attest,
    service,
    record: recordInstall(parts.audit, { action: "bootstrap", outcome: "bootstrapped" }),
    authorizeBootstrap: () => requireSelfAllowed(selfAuthorization, "KMS is not allowed to auto-bootstrap"),
    routes: [...restoreRoutes(restore), description],
  });
}

function restoreInto(
  { config, clock, log }: ReadyKeysOptions,
  parts: KmsParts & { readonly audit: AuditLog },
  attest: Attest,
): Restore {
  const folder = config.keyFolder;
  return new Restore({
    log,
    clock,
    tokenRequired: config.setUp.requireToken,
    operators: config.backup,
    self: attest === undefined ? undefined : parts.self,
    authorize: async () => {
      await requireNoKeys(folder, "KMS has already been bootstrapped");
      await requireSelfAllowed(parts.selfAuthorization, "KMS is not allowed to restore");
    },
    install: async (roots, domain, record) =>
      installRootKeys({
        folder,
        roots,
        domain,
        now: seconds(clock),
        evidence: await attestRoots(roots, attest),
        record: recordInstall(parts.audit, { action: "restore", outcome: "restored", ...record }),
      }),
  });
}

const seconds = (clock: { now(): number }): number => Math.floor(clock.now() / 1000);
