import { CodedError, type ErrorTable } from "@dstack/errors";

export const GOVERNANCE_ERRORS = {
  "config-syntax": "the policy file is not JSON",
  "config-invalid": "the policy file, or its history, breaks a rule; nothing was changed",
  "environment-invalid": "an environment variable or setting of the auth server cannot be used",
  "request-invalid": "the request is not a boot-info document",
  "webhook-unreachable": "the auth webhook could not be asked; this is no denial",
  "webhook-answer-invalid": "the auth webhook's answer is not in its layout; this is no denial",
  "webhook-answer-unproven":
    "the webhook's answer is not signed by a pinned key for this question; the fact `rule` says why; this is no denial",
  "chain-unreachable": "too few endpoints of the chain answered in time; this is no denial",
  "chain-disagrees": "the endpoints tell different things of one block; somebody lies or is behind",
  "chain-wrong": "an endpoint is on another chain than the configured one",
  "chain-stale": "the endpoints show an older block than was read before, one that is too old, or blocks too far apart",
  "chain-refused": "an endpoint, or the chain, refused the call",
  "no-contract": "no contract stands at the configured address",
} as const satisfies ErrorTable;

export type GovernanceErrorCode = keyof typeof GOVERNANCE_ERRORS;

/** Every refusal of this library. Match on `code`, never on the text. */
export class GovernanceError extends CodedError<GovernanceErrorCode> {}
