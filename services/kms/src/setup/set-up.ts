import type { Logger } from "@dstack/log";
import type { KmsConfig } from "../config.ts";
import { KmsError } from "../errors.ts";
import { bootstrap } from "../keys/bootstrap.ts";

export interface SetUpOptions {
  readonly config: KmsConfig;
  /** Unix seconds. */
  readonly now: number;
  readonly log: Logger;
}

/**
 * Gives an empty key folder its keys. @throws KmsError `not-bootstrapped` where the configuration says how to get none
 */
export async function setUp({ config, now, log }: SetUpOptions): Promise<void> {
  const { keyFolder: folder, autoBootstrapDomain: domain } = config;
  if (!config.onboardEnabled) throw new KmsError("not-bootstrapped", `${folder} has no keys and core.onboard.enabled is false`);
  if (domain === "") {
    throw new KmsError("not-bootstrapped", `${folder} has no keys; set core.onboard.auto_bootstrap_domain to the DNS name or IP address that guests will reach this KMS at`);
  }
  await bootstrap({ folder, domain, now, attest: undefined });
  log.info({ folder, domain }, "bootstrapped: new root keys");
}
