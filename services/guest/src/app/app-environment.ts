import { join } from "node:path";
import {
  isDangerousEnvName,
  renderEnvironment,
  renderEnvironmentJson,
  selectEnvironment,
  type AppCompose,
} from "@dstack/compose";
import { decryptEnv } from "@dstack/keys";
import { utf8 } from "@dstack/bytes";
import { writeSecret } from "@dstack/files";
import type { Logger } from "@dstack/log";
import { GuestError } from "../errors.ts";

export interface AppEnvironmentOptions {
  readonly encrypted: Uint8Array;
  /** X25519 private key; empty where no KMS holds one. */
  readonly key: Uint8Array;
  readonly compose: AppCompose;
  /** Where `.decrypted-env` and `.decrypted-env.json` go. */
  readonly folder: string;
  readonly log: Logger;
}

/**
 * Decrypts the app's environment, keeps what the manifest allows and writes both file forms.
 * What cannot be decrypted stops the boot: an app must not start without its secrets (DS #1243).
 * @throws GuestError `env-invalid`
 */
export async function openAppEnvironment(options: AppEnvironmentOptions): Promise<ReadonlyMap<string, string>> {
  const { compose, log } = options;
  const variables = decrypt(options);
  for (const name of variables.keys()) {
    if (isDangerousEnvName(name))
      log.warn({ name }, "the manifest allows a variable that changes how the guest itself runs");
  }
  await writeSecret(join(options.folder, ".decrypted-env"), renderEnvironment(variables));
  await writeSecret(join(options.folder, ".decrypted-env.json"), renderEnvironmentJson(variables));
  log.info({ variables: variables.size, allowed: compose.allowedEnvs.length }, "environment ready");
  return variables;
}

function decrypt({ encrypted, key, compose, log }: AppEnvironmentOptions): ReadonlyMap<string, string> {
  if (encrypted.length === 0) return new Map();
  if (key.length === 0) {
    if (compose.keyProvider === "none")
      throw new GuestError(
        "env-invalid",
        "the host gave an encrypted environment, but this app has no key provider that could open it",
      );
    return new Map();
  }
  try {
    const plaintext = utf8(JSON.stringify({ env: decryptEnv(encrypted, key) }));
    const { variables, skipped } = selectEnvironment(plaintext, compose.allowedEnvs);
    if (skipped.length > 0)
      log.warn({ names: skipped.slice(0, 50) }, "environment variables that the manifest does not allow are left out");
    return variables;
  } catch (cause) {
    throw new GuestError("env-invalid", "the encrypted environment cannot be used", { cause });
  }
}
