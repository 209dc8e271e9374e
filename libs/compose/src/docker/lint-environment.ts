/** What a guest will refuse of an environment, found before there is one. */
import { utf8 } from "@dstack/bytes";
import { ComposeError } from "../errors.ts";
import { ENCRYPTED_ENV_MAX_BYTES, isDangerousEnvName, selectEnvironment } from "../environment.ts";
import type { Finding, FindingCode } from "./finding.ts";

/** A public key, a nonce and a tag lie around what is encrypted. */
const ENVELOPE_BYTES = 32 + 12 + 16;

/** @param variables what is to be sent, by name */
export function lintEnvironment(variables: ReadonlyMap<string, string>): readonly Finding[] {
  const findings: Finding[] = [];
  const refuse = (code: FindingCode, message: string): void =>
    void findings.push({
      severity: "refuse-in-cli",
      code,
      path: "environment",
      service: undefined,
      line: undefined,
      message,
    });
  for (const name of variables.keys())
    if (isDangerousEnvName(name))
      refuse("dangerous-variable", `${name} changes how the guest itself runs and cannot be sent`);
  const env = [...variables].map(([key, value]) => ({ key, value }));
  const plaintext = utf8(JSON.stringify({ env }));
  try {
    selectEnvironment(plaintext, [...variables.keys()]);
  } catch (error) {
    if (!(error instanceof ComposeError)) throw error;
    refuse("environment-too-large", error.message);
  }
  const size = plaintext.length + ENVELOPE_BYTES;
  if (size > ENCRYPTED_ENV_MAX_BYTES)
    refuse(
      "environment-too-large",
      `the encrypted environment has ${size} bytes, and a guest reads at most ${ENCRYPTED_ENV_MAX_BYTES}; put large values into a volume or an image`,
    );
  return findings;
}
