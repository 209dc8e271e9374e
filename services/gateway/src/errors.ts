import { CodedError, type ErrorTable } from "@dstack/errors";

export const GATEWAY_ERRORS = {
  "config-invalid": "a setting of the gateway cannot be used",
  "state-unreadable": "the file of registrations is not one of this gateway",
  "state-unwritable": "a registration could not be brought to the disk, so it was not made",
  "certificate-unusable": "the gateway's certificate, key or CA cannot be used",
  "identity-missing": "the caller's certificate says neither app nor instance",
  "identity-invalid": "the caller's certificate contradicts itself, or is of an app that may not call",
  "registration-refused": "the registration asks for what this instance may not have",
  "pool-exhausted": "no tunnel address is free",
  "port-policy-invalid": "the port policy breaks its rules",
} as const satisfies ErrorTable;

export type GatewayErrorCode = keyof typeof GATEWAY_ERRORS;

/** Every refusal of the gateway that ends a start or a call. Match on `code`, never on the text. */
export class GatewayError extends CodedError<GatewayErrorCode> {}
