import { toHex } from "@dstack/bytes";
import { MAX_OPERATORS, parseOperatorPublicKey } from "@dstack/key-backup";
import { z } from "zod";
import { KmsError } from "../errors.ts";

/** Who can give the root keys back together. From the configuration, which is measured with the VM. */
export interface BackupOperators {
  readonly threshold: number;
  /** X25519 public keys. */
  readonly publicKeys: readonly Uint8Array[];
}

/** `core.backup` of kms.toml. */
export const backupSchema = z.object({
  operators: z
    .array(z.string())
    .max(MAX_OPERATORS)
    .default([])
    .describe("Ours: public keys (`dstack kms keygen`) that a backup of the root keys is sealed to; none: no backup"),
  threshold: z
    .number()
    .int()
    .min(2)
    .max(MAX_OPERATORS)
    .optional()
    .describe("Ours: how many of them it takes to restore. Must be set with `core.backup.operators`"),
});

/** Undefined where nobody is named. @throws KmsError `config-invalid` */
export function backupOperators({ operators, threshold }: z.output<typeof backupSchema>): BackupOperators | undefined {
  if (operators.length === 0) {
    if (threshold !== undefined) throw invalid("core.backup.threshold is set, but core.backup.operators names nobody");
    return undefined;
  }
  if (threshold === undefined)
    throw invalid(
      "core.backup.operators is set without core.backup.threshold: how many of them does it take to restore?",
    );
  if (threshold > operators.length)
    throw invalid(`core.backup.threshold: ${threshold} of ${operators.length} operators can never come together`);
  const publicKeys = operators.map((text, index) => {
    try {
      return parseOperatorPublicKey(text);
    } catch (cause) {
      throw invalid(`core.backup.operators[${index}] cannot be used`, cause);
    }
  });
  if (new Set(publicKeys.map(toHex)).size !== publicKeys.length)
    throw invalid("core.backup.operators: a key occurs twice, so one operator would hold two shares");
  return { threshold, publicKeys };
}

const invalid = (text: string, cause?: unknown): KmsError => new KmsError("config-invalid", text, { cause });
