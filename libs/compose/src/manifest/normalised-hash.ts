import { createHash } from "node:crypto";
import { hash32, type Hash32 } from "@dstack/bytes";

/**
 * The hash that client libraries compute over a compose object: keys sorted recursively, compact
 * JSON, SHA-256. It is a helper for humans; measured, registered and authorised is the hash of
 * the raw bytes (`composeHash`), which usually differs.
 * @param normalize drop what the runner does not use, and an empty pre-launch script
 */
export function normalisedComposeHash(compose: Readonly<Record<string, unknown>>, normalize = false): Hash32 {
  return hash32(new Uint8Array(createHash("sha256").update(normalisedComposeText(compose, normalize)).digest()));
}

/** The text that `normalisedComposeHash` hashes. */
export function normalisedComposeText(compose: Readonly<Record<string, unknown>>, normalize = false): string {
  const copy: Record<string, unknown> = { ...compose };
  if (normalize) {
    if (copy["runner"] === "bash") delete copy["docker_compose_file"];
    if (copy["runner"] === "docker-compose" || copy["runner"] === "nerdctl-compose") delete copy["bash_script"];
    if (copy["pre_launch_script"] === "" || copy["pre_launch_script"] === null) delete copy["pre_launch_script"];
  }
  return JSON.stringify(sorted(copy));
}

// JSON.stringify writes NaN and infinities as null and drops undefined, as the rule wants.
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, member]) => [key, sorted(member)]),
  );
}
