import type { Logger } from "@dstack/log";
import type { HttpRoute, RpcService } from "@dstack/rpc";
import type { KmsConfig } from "../config/kms-config.ts";
import type { Attest } from "../keys/bootstrap.ts";
import type { RecordInstall } from "../keys/install-root-keys.ts";

export interface SetUpOptions {
  readonly config: Pick<KmsConfig, "keyFolder" | "ownNames" | "onboardEnabled" | "autoBootstrapDomain" | "setUp">;
  /** Unix seconds. */
  readonly now: number;
  readonly log: Logger;
  /** Evidence over new root keys; undefined outside a TEE. */
  readonly attest: Attest;
  /** Puts roots that are made at once on record. */
  readonly record?: RecordInstall;
  /** Throws where the auth server does not want this very KMS to make roots. */
  readonly authorizeBootstrap: () => Promise<void>;
  /** The Onboard service. It calls `finish` to end the set-up; that throws while there are no keys. */
  readonly service: (finish: () => Promise<void>) => RpcService<undefined, "set-up">;
  /** Ways to keys beside the Onboard service; whoever may call that may call these. */
  readonly routes?: readonly HttpRoute[];
  /** Shows the operator one line that no log keeps. */
  readonly print: (line: string) => void;
  /** Ends the wait for an operator. */
  readonly signal: AbortSignal;
}
