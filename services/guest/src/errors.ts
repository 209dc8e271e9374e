import { CodedError, type ErrorTable } from "@dstack/errors";

export const GUEST_ERRORS = {
  "host-share-invalid": "what the host handed over is missing, too large or of the wrong kind",
  "config-invalid": "a file or kernel option that the guest reads cannot be used",
  "policy-refused": "the app's manifest breaks the policy that it is measured with",
  unsupported: "the manifest asks for what this guest image does not do",
  "time-unsynced": "the manifest wants a secure time and no time server answered",
  "keys-refused": "the keys come from another provider than the app pins",
  "keys-unavailable": "no KMS or key provider gave the keys",
  "keys-invalid": "the key provider's answer is not in its layout",
  "binding-mismatch": "the host started the VM with another configuration than the app was measured for",
  "disk-invalid": "the data disk is damaged, or holds what is not ours",
  "disk-key-wrong": "the data disk was made with another key",
  "env-invalid": "the encrypted environment cannot be used",
  "docker-failed": "Docker did not answer, or answered with an error",
  "app-failed": "the app's containers or scripts did not start",
  "gateway-failed": "the gateway could not be registered with",
} as const satisfies ErrorTable;

export type GuestErrorCode = keyof typeof GUEST_ERRORS;

/** Why the guest does not go on, or refuses a request. Match on `code`, never on the text. */
export class GuestError extends CodedError<GuestErrorCode> {}
