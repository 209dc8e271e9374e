/**
 * metadata.json of a guest image: which files it has and how its kernel is started.
 * Unknown members are ignored, as every reader of the format does.
 */
import { parseJson, utf8Decode } from "@dstack/bytes";
import { z } from "zod";
import { ImageError } from "./errors.ts";

/** A file name inside the image folder: no slash, not `.` or `..`. */
const fileName = z.string().regex(/^(?!\.{1,2}$)[A-Za-z0-9._+-]{1,128}$/, "expected a plain file name");

const schema = z.object({
  bios: fileName.optional(),
  "bios-sev": fileName.optional(),
  kernel: fileName,
  initrd: fileName,
  cmdline: z
    .string()
    .max(4096)
    .regex(/^[\x20-\x7e]*$/, "expected printable ASCII on one line")
    .optional(),
  rootfs: fileName.optional(),
  hda: fileName.optional(),
  rootfs_hash: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullish(),
  version: z.string().max(64).optional(),
  git_revision: z.string().max(256).optional(),
  shared_ro: z.boolean().default(false),
  is_dev: z.boolean().default(false),
  ovmf_variant: z.string().max(64).optional(),
});

export type ImageMetadata = z.infer<typeof schema>;

/** Most bytes of a metadata.json that is read. */
export const MAX_METADATA_BYTES = 65_536;

/** @throws ImageError `bad-metadata` with the member and what was expected of it */
export function parseImageMetadata(bytes: Uint8Array): ImageMetadata {
  if (bytes.length > MAX_METADATA_BYTES)
    throw new ImageError(
      "bad-metadata",
      `metadata.json has ${bytes.length} bytes, at most ${MAX_METADATA_BYTES} are allowed`,
    );
  let value: unknown;
  try {
    value = parseJson(utf8Decode(bytes, "metadata.json"), "metadata.json");
  } catch (cause) {
    throw new ImageError("bad-metadata", "metadata.json is not UTF-8 JSON", { cause });
  }
  const result = schema.safeParse(value);
  if (!result.success) throw new ImageError("bad-metadata", `metadata.json: ${z.prettifyError(result.error)}`);
  return result.data;
}
