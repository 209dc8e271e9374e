import { BytesError } from "./errors.ts";

declare const brand: unique symbol;
type Branded<Name extends string> = Uint8Array & { readonly [brand]: Name };

/** 20 bytes that name an app. */
export type AppId = Branded<"AppId">;
/** 20 bytes, or none where the app asked for no instance id. */
export type InstanceId = Branded<"InstanceId">;
/** A SHA-256 or Keccak-256 digest. */
export type Hash32 = Branded<"Hash32">;
/** A SHA-384 digest: measurement registers and their events. */
export type Hash48 = Branded<"Hash48">;
/** The 64 bytes that a TEE signs on behalf of its software. */
export type ReportData = Branded<"ReportData">;
/** An X25519 public key. */
export type PublicKey32 = Branded<"PublicKey32">;

/** @throws BytesError `length-wrong` unless 20 bytes */
export const appId = (bytes: Uint8Array): AppId => exact(bytes, 20, "app id") as AppId;
/** @throws BytesError `length-wrong` unless 32 bytes */
export const hash32 = (bytes: Uint8Array, what = "hash"): Hash32 => exact(bytes, 32, what) as Hash32;
/** @throws BytesError `length-wrong` unless 48 bytes */
export const hash48 = (bytes: Uint8Array, what = "hash"): Hash48 => exact(bytes, 48, what) as Hash48;
/** @throws BytesError `length-wrong` unless 64 bytes */
export const reportData = (bytes: Uint8Array): ReportData => exact(bytes, 64, "report data") as ReportData;
/** @throws BytesError `length-wrong` unless 32 bytes */
export const publicKey32 = (bytes: Uint8Array): PublicKey32 => exact(bytes, 32, "public key") as PublicKey32;

/** @throws BytesError `length-wrong` unless 20 bytes or none */
export function instanceId(bytes: Uint8Array): InstanceId {
  return (bytes.length === 0 ? bytes : exact(bytes, 20, "instance id")) as InstanceId;
}

function exact(bytes: Uint8Array, length: number, what: string): Uint8Array {
  if (bytes.length !== length) {
    throw new BytesError("length-wrong", `${what}: expected ${length} bytes, got ${bytes.length}`);
  }
  return bytes;
}
