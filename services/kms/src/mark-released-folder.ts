import { giveMark, type Environment } from "@dstack/key-folder";
import { insecureSettings } from "./config/insecure-settings.ts";
import type { KmsConfig } from "./config/kms-config.ts";
import { KmsError } from "./errors.ts";
import { keyFolderState } from "./keys/key-files.ts";

/** For the refusal of a folder without a mark. */
export const MARK_COMMAND =
  "if it is a released KMS's folder, mark it once with dstack-kms mark-key-folder production -c FILE (or development); if it had a mark, restore that from a backup of the folder";

/**
 * Marks the key folder of a KMS of another release, which made keys and no mark, so that this one starts on it.
 * @throws KmsError `usage` for another word than the two, `not-bootstrapped` where there is no key: the first
 *   start marks that folder; KeyFolderError `already-marked`, `insecure-in-production`
 */
export async function markReleasedFolder(config: KmsConfig, environment: string | undefined): Promise<Environment> {
  if (environment !== "production" && environment !== "development")
    throw new KmsError("usage", `mark-key-folder: expected production or development, got "${environment ?? ""}"`);
  const { keyFolder } = config;
  if ((await keyFolderState(keyFolder)).kind === "empty")
    throw new KmsError("not-bootstrapped", `${keyFolder} has no keys: its first start marks it`);
  await giveMark(keyFolder, environment, { insecureSettings: insecureSettings(config).map(({ text }) => text) });
  return environment;
}
