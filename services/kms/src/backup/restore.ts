import { randomBytes } from "node:crypto";
import { encodeAttestation, type Attestation } from "@dstack/attest";
import { toHex, type ReportData } from "@dstack/bytes";
import {
  backupHash,
  decodeBackup,
  decodeShare,
  encodeSession,
  openResealedShare,
  restoreReportData,
  type Backup,
} from "@dstack/key-backup";
import { x25519PublicKey } from "@dstack/keys";
import type { Logger } from "@dstack/log";
import { KmsError } from "../errors.ts";
import { checkDomain } from "../keys/domain.ts";
import type { RootKeys } from "../keys/install-root-keys.ts";
import type { BackupOperators } from "../config/backup-operators.ts";
import { openBackup } from "./open-backup.ts";

export interface RestoreOptions {
  /** Evidence of this VM; undefined outside a TEE, where nothing is restored. */
  readonly self: { attest(reportData: ReportData): Promise<Attestation>; vmConfig(): Promise<string> } | undefined;
  /** The operators of this KMS's own configuration: nobody else's shares make its keys. */
  readonly operators: BackupOperators | undefined;
  /** Throws where the folder has keys, or the auth server does not want this KMS. */
  readonly authorize: () => Promise<void>;
  /** Puts them on record and makes these the root keys, once. */
  readonly install: (roots: RootKeys, domain: string, record: RestoreRecord) => Promise<void>;
  readonly clock: { now(): number };
  /** Whoever begins has shown the set-up token, and so may put another restore in the place of one. */
  readonly tokenRequired: boolean;
  readonly log: Logger;
}

/** For so long nobody without the token replaces a restore: time for a first share. */
const MIN_SESSION_MS = 10 * 60_000;

export interface RestoreProgress {
  readonly received: number;
  readonly needed: number;
  readonly restored: boolean;
}

/** What the audit log is told of a restore. */
export interface RestoreRecord {
  readonly backup: string;
  readonly created: string;
  /** Public keys of the operators whose shares were used, hex. */
  readonly operators: readonly string[];
}

interface Session {
  readonly backup: Backup;
  readonly hash: string;
  readonly domain: string;
  readonly secretKey: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly document: Uint8Array;
  readonly begunAt: number;
  /** Opened shares by the operator's place. */
  readonly shares: Map<number, Uint8Array>;
}

/**
 * Takes operators' shares until they open a backup, and installs its keys. One backup at a time, in
 * this process's memory alone: whoever starts anew needs the shares anew.
 */
export class Restore {
  readonly #options: RestoreOptions;
  #session: Session | undefined;
  #isRestored = false;
  /** One step after the other: two last shares must not install twice. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: RestoreOptions) {
    this.#options = options;
  }

  /**
   * Begins with a backup, or goes on with it. One that has shares is replaced by no other, and one
   * without any, where no token is asked for, not within its first ten minutes: the set-up listener may be open
   * to strangers, and the backup is in many hands. Gives the session document that operators check and seal to.
   * @throws KeyBackupError for the file, KmsError `restore-refused`, `config-invalid`, and what `authorize` and the agent throw
   */
  begin(bytes: Uint8Array, domain: string): Promise<Uint8Array> {
    return this.#inTurn(async () => {
      const { self, authorize, clock, log } = this.#options;
      if (self === undefined)
        throw new KmsError(
          "restore-refused",
          "restore runs inside an attested KMS alone: operators give their shares to nothing else. Start it in a TEE with core.attest_rpc_cert on",
        );
      const backup = decodeBackup(bytes);
      const hash = backupHash(bytes);
      this.#requireOwnOperators(backup);
      checkDomain(domain);
      await authorize();
      const before = this.#session;
      if (before?.hash === hash && before.domain === domain) return before.document;
      if (before !== undefined && before.shares.size > 0) {
        throw new KmsError(
          "restore-refused",
          `a restore for ${before.domain} has ${before.shares.size} of ${before.backup.header.threshold} shares, which another would forget: go on with it, or restart this KMS to begin anew`,
        );
      }
      if (before !== undefined && !this.#options.tokenRequired && clock.now() < before.begunAt + MIN_SESSION_MS)
        throw new KmsError(
          "restore-refused",
          `a restore for ${before.domain} has begun, and without core.onboard.require_token gives way to no other for ten minutes: go on with it, wait, or restart this KMS to begin anew`,
        );
      const secretKey = new Uint8Array(randomBytes(32));
      const publicKey = x25519PublicKey(secretKey);
      const attestation = await self.attest(restoreReportData({ publicKey, backup: hash, domain }));
      const document = encodeSession({
        backup: hash,
        domain,
        publicKey,
        attestation: encodeAttestation(attestation),
        vmConfig: await self.vmConfig(),
      });
      if (before !== undefined)
        log.warn(
          { backup: before.hash, domain: before.domain },
          "another restore begins; the one before had no share yet",
        );
      this.#forget();
      this.#session = { backup, hash, domain, secretKey, publicKey, document, begunAt: clock.now(), shares: new Map() };
      log.info(
        { backup: hash, domain, session: toHex(publicKey), needed: backup.header.threshold },
        "restore begun: waiting for operators' shares",
      );
      return document;
    });
  }

  /**
   * Takes one share; the last that is needed restores.
   * @throws KeyBackupError for the share, KmsError `restore-refused`, the system's error with the shares kept
   */
  submit(bytes: Uint8Array): Promise<RestoreProgress> {
    return this.#inTurn(async () => {
      const session = this.#session;
      if (session === undefined)
        throw new KmsError(
          "restore-refused",
          this.#isRestored ? "the keys are restored already" : "no restore has begun: upload the backup first",
        );
      const share = decodeShare(bytes);
      const opened = openResealedShare(
        session.backup,
        { backup: session.hash, secretKey: session.secretKey, publicKey: session.publicKey },
        share,
      );
      const { shares, backup, hash } = session;
      shares.get(share.operator)?.fill(0);
      shares.set(share.operator, opened);
      const needed = backup.header.threshold;
      this.#options.log.info(
        {
          backup: hash,
          operator: toHex(backup.header.operators[share.operator] ?? new Uint8Array()),
          received: shares.size,
          needed,
        },
        "share received",
      );
      if (shares.size < needed) return { received: shares.size, needed, restored: false };
      await this.#options.authorize();
      const roots = await openBackup(backup, [...shares.values()]);
      const record: RestoreRecord = {
        backup: hash,
        created: backup.header.created,
        operators: [...shares.keys()].map((index) => toHex(backup.header.operators[index] ?? new Uint8Array())),
      };
      await this.#options.install(roots, session.domain, record);
      for (const secret of [roots.rootCa.scalar, roots.tempCa.scalar, roots.rootK256]) secret.fill(0);
      this.#isRestored = true;
      const received = shares.size;
      this.#forget();
      this.#options.log.info({ ...record }, "root keys restored");
      return { received, needed, restored: true };
    });
  }

  /** Anybody can make a backup of keys that they know; only these operators can have it restored here. */
  #requireOwnOperators({ header }: Backup): void {
    const { operators } = this.#options;
    if (operators === undefined)
      throw new KmsError(
        "restore-refused",
        "no operators are configured: set core.backup.operators and core.backup.threshold as they were in the KMS that made the backup",
      );
    const known = new Set(operators.publicKeys.map(toHex));
    const stranger = header.operators.map(toHex).find((key) => !known.has(key));
    if (stranger !== undefined)
      throw new KmsError(
        "restore-refused",
        `the backup names an operator that core.backup.operators does not: ${stranger}`,
      );
    if (header.threshold < operators.threshold)
      throw new KmsError(
        "restore-refused",
        `the backup opens with ${header.threshold} shares, core.backup.threshold asks for ${operators.threshold}`,
      );
  }

  #forget(): void {
    this.#session?.secretKey.fill(0);
    for (const share of this.#session?.shares.values() ?? []) share.fill(0);
    this.#session = undefined;
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(run);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}
