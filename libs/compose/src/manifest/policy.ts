import { createHash, timingSafeEqual } from "node:crypto";
import satisfies from "semver/functions/satisfies.js";
import validSemver from "semver/functions/valid.js";
import validRange from "semver/ranges/valid.js";
import { utf8, utf8Decode } from "@dstack/bytes";
import type { AppCompose, Requirements } from "./app-compose.ts";
import { MAX_MANIFEST_VERSION } from "./manifest-version.ts";
import { parseStrictJson, type StrictJson } from "./strict-json.ts";

export const PLATFORMS = [
  "dstack-tdx",
  "dstack-gcp-tdx",
  "dstack-amd-sev-snp",
  "dstack-nitro-enclave",
  "dstack-aws-nitro-tpm",
] as const;
export type Platform = (typeof PLATFORMS)[number];

/** What the manifest's demands are held against. */
export interface PolicyFacts {
  /** VERSION_ID of the guest's os-release. */
  readonly osVersion: string | undefined;
  readonly platform: Platform;
  /** `lite` or absent, from vm_config. */
  readonly tdxAttestationVariant: string | undefined;
  /** The bytes of the user config, where the host gave one. */
  readonly userConfig: Uint8Array | undefined;
}

export type PolicyResult = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Whether this guest may run this manifest; the first demand that is not met is the reason. */
export function checkPolicy(compose: AppCompose, facts: PolicyFacts): PolicyResult {
  for (const rule of [
    checkVersion,
    checkSnapshotter,
    checkOsVersion,
    checkPlatform,
    checkMeasuredTables,
    checkLaunchToken,
  ]) {
    const reason = rule(compose, facts);
    if (reason !== undefined) return { ok: false, reason };
  }
  return { ok: true };
}

/** SHA-256 over a tagged launch token: the value that `requirements.launch_token_hash` pins. */
export const launchTokenHash = (token: string): Uint8Array =>
  new Uint8Array(createHash("sha256").update(`dstack-launch-token/v1:${token}`).digest());

/**
 * Whether a version meets a Cargo-style requirement: comma-separated comparators, a bare version
 * meaning "compatible with".
 */
export function osVersionSatisfies(
  current: string,
  requirement: string,
): "yes" | "no" | "current-invalid" | "requirement-invalid" {
  const range = requirement
    .split(",")
    .map((part) => part.trim())
    .map((part) => (/^\d/.test(part) ? `^${part}` : part))
    .join(" ");
  if (requirement.trim() === "" || range.length > 256 || validRange(range) === null) return "requirement-invalid";
  // A leading `v` or `=` is not part of a version.
  if (!/^\d/.test(current) || validSemver(current) === null) return "current-invalid";
  return satisfies(current, range) ? "yes" : "no";
}

function checkVersion(compose: AppCompose): string | undefined {
  const version = compose.manifestVersion;
  if (version > MAX_MANIFEST_VERSION)
    return `Unsupported manifest_version: ${version}, max supported: ${MAX_MANIFEST_VERSION}`;
  if (version >= 3) return undefined;
  const needs = (what: string): string =>
    `${what} manifest_version >= 3; use string manifest_version "3" so older guests fail closed`;
  if (compose.requirements !== undefined) return needs("requirements requires");
  if (compose.runner === "nerdctl-compose") return needs("nerdctl-compose requires");
  if (compose.initScripts.length > 1) return needs("multiple init scripts require");
  return undefined;
}

function checkSnapshotter(compose: AppCompose): string | undefined {
  return compose.snapshotter !== undefined && compose.runner !== "nerdctl-compose"
    ? "snapshotter is only supported by the nerdctl-compose runner"
    : undefined;
}

function checkOsVersion({ requirements }: AppCompose, facts: PolicyFacts): string | undefined {
  if (requirements?.osVersion === undefined) return undefined;
  const current = facts.osVersion ?? "";
  switch (osVersionSatisfies(current, requirements.osVersion)) {
    case "yes":
      return undefined;
    case "no":
      return `Unsupported dstack OS version: current ${current}, required ${requirements.osVersion}`;
    case "current-invalid":
      return `Invalid current dstack OS version: ${current}`;
    default:
      return `Invalid requirements.os_version: ${requirements.osVersion}`;
  }
}

function checkPlatform({ requirements }: AppCompose, facts: PolicyFacts): string | undefined {
  const platforms = requirements?.platforms;
  if (platforms === undefined) return undefined;
  if (platforms.length === 0) return "Unsupported attestation platform: requirements.platforms is empty";
  const known: readonly string[] = PLATFORMS;
  const unknown = platforms.findIndex((name) => !known.includes(name));
  if (unknown >= 0) return `Invalid requirements.platforms[${unknown}]: ${platforms[unknown]}`;
  return platforms.includes(facts.platform)
    ? undefined
    : `Unsupported attestation platform: current ${facts.platform}, allowed [${platforms.join(", ")}]`;
}

function checkMeasuredTables({ requirements }: AppCompose, facts: PolicyFacts): string | undefined {
  const wanted = requirements?.tdxMeasureAcpiTables;
  if (wanted === undefined || facts.platform !== "dstack-tdx") return undefined;
  const lite = facts.tdxAttestationVariant === "lite";
  if (wanted && lite)
    return "unsupported TDX attestation mode: requirements.tdx_measure_acpi_tables=true requires ACPI table measurement";
  if (!wanted && !lite)
    return "unsupported TDX attestation mode: requirements.tdx_measure_acpi_tables=false requires TDX lite attestation";
  return undefined;
}

function checkLaunchToken({ requirements }: AppCompose, facts: PolicyFacts): string | undefined {
  const pinned = requirements?.launchTokenHash;
  if (pinned === undefined) return undefined;
  const expected = readPinnedHash(pinned);
  if (typeof expected === "string") return expected;
  const token = readToken(facts.userConfig);
  if (token.kind === "missing") return token.reason;
  const length = utf8(token.text).length;
  if (length < 32) return `launch token too short: got ${length} bytes, minimum is 32; use a longer random token`;
  return timingSafeEqual(expected, launchTokenHash(token.text))
    ? undefined
    : "launch token mismatch: the user config's token does not hash to requirements.launch_token_hash";
}

function readPinnedHash(text: Requirements["launchTokenHash"] & string): Uint8Array | string {
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(text)) return "invalid requirements.launch_token_hash: not a hex string";
  if (text.length !== 64)
    return `invalid requirements.launch_token_hash: expected 32-byte sha256 hex, got ${text.length / 2} bytes`;
  return new Uint8Array(Buffer.from(text, "hex"));
}

type Token = { readonly kind: "token"; readonly text: string } | { readonly kind: "missing"; readonly reason: string };

function readToken(userConfig: Uint8Array | undefined): Token {
  let config: StrictJson;
  try {
    config = parseStrictJson(utf8Decode(userConfig ?? new Uint8Array(), "user_config"));
  } catch (error) {
    return {
      kind: "missing",
      reason: `failed to parse user_config as JSON for the launch token: ${(error as Error).message}`,
    };
  }
  const token = member(member(config, "dstack"), "launch_token");
  if (token === undefined) return { kind: "missing", reason: "user_config is missing dstack.launch_token" };
  return typeof token === "string"
    ? { kind: "token", text: token }
    : { kind: "missing", reason: "user_config dstack.launch_token is not a string" };
}

function member(value: StrictJson | undefined, name: string): StrictJson | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.hasOwn(value, name)
    ? value[name]
    : undefined;
}
