import type { AuditLog } from "@dstack/audit-log";
import { errorChain } from "@dstack/errors";
import { KmsError } from "../errors.ts";
import type { AuthApi } from "../release/auth-api.ts";
import type { SelfAuthorization } from "../self/self-authorization.ts";

export interface ReadinessOptions {
  readonly audit: AuditLog;
  readonly auth: AuthApi;
  readonly selfAuthorization: SelfAuthorization;
  readonly clock: { now(): number };
}

/** Anybody may ask, and each look asks the auth server, also while that refuses (DS #1311). */
const AGE_MS = 1_000;

/** Gives why no key could be released now, nothing where one could. One look a second, for all who ask. */
export function readiness({
  audit,
  auth,
  selfAuthorization,
  clock,
}: ReadinessOptions): () => Promise<readonly string[]> {
  let last: { readonly at: number; readonly problems: Promise<readonly string[]> } | undefined;
  const look = async (): Promise<readonly string[]> => {
    const failure = await audit.probe();
    const problems = failure === undefined ? [] : [`audit log: ${failure}`];
    for (const ask of [() => auth.info(), () => selfAuthorization.require()]) {
      try {
        await ask();
      } catch (error) {
        if (!(error instanceof KmsError)) throw error;
        problems.push(errorChain(error));
      }
    }
    return problems;
  };
  return () => {
    const age = clock.now() - (last?.at ?? Number.NEGATIVE_INFINITY);
    if (last === undefined || age < 0 || age >= AGE_MS) last = { at: clock.now(), problems: look() };
    return last.problems;
  };
}
