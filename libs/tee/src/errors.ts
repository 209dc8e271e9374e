import { CodedError, type ErrorTable } from "@dstack/errors";

export const TEE_ERRORS = {
  "tee-unavailable": "the kernel offers no quotes or no measurement registers here",
  "quote-timeout": "the TEE gave no quote in time, or too many requests wait",
  "quote-invalid": "what the kernel gave is not the quote that was asked for",
  "register-invalid": "a register that software cannot extend, or a digest of the wrong length",
  "register-mismatch": "the register is not what the log replays to: something else extends it",
  "log-unrecoverable": "the runtime event log does not lead to RTMR3; restart the guest",
  "event-conflict": "an event of this name was measured with another payload",
  "path-invalid": "a path of the TEE interface is not absolute",
  aborted: "the caller gave the wait up",
} as const satisfies ErrorTable;

export type TeeErrorCode = keyof typeof TEE_ERRORS;

/** Every refusal of this package. Match on `code`, never on the text. */
export class TeeError extends CodedError<TeeErrorCode> {}
