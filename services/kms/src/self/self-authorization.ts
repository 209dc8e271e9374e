import { KmsError } from "../errors.ts";
import type { WebhookDecision } from "@dstack/governance";
import { denialText, type AuthApi } from "../release/auth-api.ts";
import type { SelfAttestation } from "./self-attestation.ts";

/** Whether the auth server still wants this KMS to serve. */
export interface SelfAuthorization {
  /** @throws KmsError `self-unauthorized` with who said no, `auth-unreachable`, `auth-answer-invalid`, `agent-unavailable`, `self-evidence-invalid` */
  require(): Promise<void>;
  /** The answer as it is, for set-up, which words it otherwise. @throws KmsError as `require`, but for a denial */
  ask(): Promise<WebhookDecision>;
}

/** Where `core.enforce_self_authorization` is false. */
export const noSelfAuthorization: SelfAuthorization = {
  require: () => Promise.resolve(),
  ask: () => Promise.resolve({ kind: "allowed", gatewayAppId: "" }),
};

/** Anonymous calls are gated too: they must not become calls to a chain one by one (DS #1311). */
const ALLOWED_AGE_MS = 1_000;

/**
 * Asks the auth server about this KMS before anything is served. A permission counts for a second
 * and callers share a question that is under way; a denial and an error are never kept.
 */
export function selfAuthorization({
  self,
  auth,
  clock,
}: {
  readonly self: SelfAttestation;
  readonly auth: AuthApi;
  readonly clock: { now(): number };
}): SelfAuthorization {
  let allowedAt: number | undefined;
  let asking: Promise<WebhookDecision> | undefined;

  const askNow = async (): Promise<WebhookDecision> => {
    const bootInfo = await inContext("Failed to load cached self boot info", () => self.bootInfo());
    const at = clock.now();
    allowedAt = undefined;
    const decision = await inContext("Failed to call self KMS auth check", () => auth.bootAuth("kms", bootInfo.json));
    if (decision.kind === "allowed") allowedAt = at;
    return decision;
  };
  const ask = (): Promise<WebhookDecision> => {
    const age = clock.now() - (allowedAt ?? Number.NEGATIVE_INFINITY);
    if (age >= 0 && age < ALLOWED_AGE_MS) return Promise.resolve({ kind: "allowed", gatewayAppId: "" });
    asking ??= askNow().finally(() => {
      asking = undefined;
    });
    return asking;
  };
  return {
    ask,
    require: async () => {
      const decision = await ask();
      if (decision.kind === "denied")
        throw new KmsError("self-unauthorized", `KMS is not allowed: ${denialText(decision)}`);
    },
  };
}

async function inContext<T>(context: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    if (cause instanceof KmsError) throw new KmsError(cause.code, context, { cause });
    throw cause;
  }
}
