/** A share on its way from an operator to a restoring KMS. */
import { parseHex, toHex } from "@dstack/bytes";
import { z } from "zod";
import { MAX_OPERATORS } from "./backup.ts";
import { hexOf, jsonFile, parseJsonFile } from "./json-file.ts";

export interface ResealedShare {
  readonly backup: string;
  /** Public key of the session that alone can open it. */
  readonly session: Uint8Array;
  /** Place of the operator in the backup, from 0. */
  readonly operator: number;
  readonly sealed: Uint8Array;
}

export const MAX_SHARE_BYTES = 8 * 1024;

const FORMAT = "dstack-kms-share";
const schema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(1),
  backup: hexOf(32),
  session: hexOf(32),
  operator: z
    .int()
    .min(0)
    .max(MAX_OPERATORS - 1),
  sealed_share: hexOf(48 + 33),
});

export function encodeShare({ backup, session, operator, sealed }: ResealedShare): Uint8Array {
  return jsonFile({
    format: FORMAT,
    version: 1,
    backup,
    session: toHex(session),
    operator,
    sealed_share: toHex(sealed),
  });
}

/** @throws KeyBackupError `file-malformed` */
export function decodeShare(bytes: Uint8Array): ResealedShare {
  const json = parseJsonFile(bytes, {
    what: "share",
    maxBytes: MAX_SHARE_BYTES,
    schema,
    rebuild: ({ format, version, backup, session, operator, sealed_share }) => ({
      format,
      version,
      backup,
      session,
      operator,
      sealed_share,
    }),
  });
  return {
    backup: json.backup,
    session: parseHex(json.session),
    operator: json.operator,
    sealed: parseHex(json.sealed_share),
  };
}
