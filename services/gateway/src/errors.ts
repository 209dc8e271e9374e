import { CodedError } from "@dstack/errors";

export type GatewayErrorCode =
  | "config-invalid"
  | "state-unreadable"
  | "state-unwritable"
  | "certificate-unusable"
  | "identity-missing"
  | "identity-invalid"
  | "registration-refused"
  | "pool-exhausted"
  | "port-policy-invalid";

/** Every refusal of the gateway that ends a start or a call. Match on `code`, never on the text. */
export class GatewayError extends CodedError<GatewayErrorCode> {}
