/** What is said about a compose file or a manifest, with a code to match on. */

/**
 * `refuse-everywhere`: docker compose of the guest image would refuse the file. `refuse-in-cli`: it
 * would run, and not as its author means, or not in a guest: `dstack deploy` refuses it.
 * `advice`: worth a look.
 */
export type Severity = "refuse-everywhere" | "refuse-in-cli" | "advice";

export type FindingCode =
  | "unknown-key"
  | "wrong-type"
  | "wrong-value"
  | "missing-key"
  | "conflict"
  | "undefined-reference"
  | "missing-variable"
  | "no-services"
  | "image-mutable"
  | "image-invalid"
  | "file-on-your-disk"
  | "build"
  | "port-of-the-guest"
  | "powers"
  | "volatile-folder"
  | "gpu"
  | "variable-not-sent"
  | "dangerous-variable"
  | "environment-too-large"
  | "identity-in-user-config"
  | "gate-in-pre-launch"
  | "one-disk-key";

export interface Finding {
  readonly severity: Severity;
  readonly code: FindingCode;
  /** Where, e.g. `services.web.image`; empty for the whole. */
  readonly path: string;
  readonly service: string | undefined;
  /** 1-based line of the compose file, where there is one. */
  readonly line: number | undefined;
  readonly message: string;
}
