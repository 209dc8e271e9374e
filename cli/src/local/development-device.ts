import { createHash } from "node:crypto";
import { toHex } from "@dstack/bytes";

/**
 * The device id of every simulated TEE: SHA-256 of the PPID in the mock PCK certificate, which is
 * 16 zero bytes. Real machines have one each, shown by the webhook's log and the KMS's audit log.
 */
export const DEVELOPMENT_DEVICE_ID: string = toHex(createHash("sha256").update(new Uint8Array(16)).digest());
