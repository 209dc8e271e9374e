import { CodedError, type ErrorTable } from "@dstack/errors";

export const VMM_ERRORS = {
  "config-invalid": "a setting or option of the VMM cannot be used",
  "request-invalid": "the request has a value that cannot be used",
  "not-found": "no VM has this id or name",
  "no-version": "no version of the app is kept that could be put back",
  conflict: "the id, port or state is taken by something else",
  unsupported: "the request asks for what this VMM or the image does not do",
  "image-unusable": "the image is missing or cannot be used",
  "vm-broken": "the VM's files cannot be used",
  "pool-exhausted": "no CID or port is free",
  "supervisor-failed": "the supervisor did not answer, or refused",
  "qemu-unusable": "no QEMU that can run the VM was found",
  "disk-failed": "the VM's disk could not be made, or the host's disk is full",
  "guest-unreachable": "the guest, or the key provider, did not answer",
} as const satisfies ErrorTable;

export type VmmErrorCode = keyof typeof VMM_ERRORS;

/** Every refusal and failure of the VMM. Match on `code`; its text goes to the caller. */
export class VmmError extends CodedError<VmmErrorCode> {}
