/**
 * Launch events of a guest with NVIDIA GPUs. Order on the register:
 * compose-hash, init-script-hash (0 to 5), gpu-policy-hash, gpu-attestation, instance-id, boot-mr-done.
 * `gpu-attestation` payload: JSON text without spaces, exactly the keys version (2), provider
 * ("nvidia"), devices, cc_mode ("on"), devtools, evidence_sha256 (of the saved output, 64 hex digits).
 */
import { equalBytes, hash32, parseHexOfLength, toHex, utf8Decode } from "@dstack/bytes";
import type { Hash32 } from "@dstack/bytes";
import { sha256 } from "#sha2";
import { BOOT_EVENT } from "./boot-event-names.ts";
import { bootPrefix } from "./boot-events.ts";
import { AttestError } from "./errors.ts";
import { isIntegerIn } from "./numbers.ts";
import type { RuntimeEvent } from "./runtime-event.ts";

/** What a guest measured about its GPUs. The GPUs' own evidence is not verified here; only its digest is bound. */
export interface GpuLaunch {
  /** SHA-256 of the canonical JSON of the app's GPU policy. */
  readonly policyHash: Hash32;
  readonly devices: number;
  /** Whether NVIDIA's developer tools were enabled. */
  readonly devtools: boolean;
  /** SHA-256 of the attestation tool's output as the guest saved it. */
  readonly evidenceSha256: Hash32;
}

const ORDER: readonly string[] = [
  BOOT_EVENT.composeHash,
  BOOT_EVENT.initScriptHash,
  BOOT_EVENT.gpuPolicyHash,
  BOOT_EVENT.gpuAttestation,
  BOOT_EVENT.instanceId,
  BOOT_EVENT.bootMrDone,
];
const KEYS: readonly string[] = ["version", "provider", "devices", "cc_mode", "devtools", "evidence_sha256"];
const MAX_PAYLOAD_BYTES = 4096;
const MAX_DEVICES = 64;

/**
 * The GPU events of a log, each at its place; undefined where no GPU was attested. Look-alikes after
 * `system-ready` count for nothing.
 * @throws AttestError `event-order`, `event-duplicate`, `event-missing`, `event-invalid`
 */
export function readGpuLaunch(events: readonly RuntimeEvent[]): GpuLaunch | undefined {
  const boot = bootPrefix(events);
  if (!boot.some(({ event }) => event === BOOT_EVENT.gpuPolicyHash || event === BOOT_EVENT.gpuAttestation))
    return undefined;
  checkOrder(boot);
  const attested = boot.find(({ event }) => event === BOOT_EVENT.gpuAttestation);
  if (attested === undefined) return undefined;
  const policy = boot.find(({ event }) => event === BOOT_EVENT.gpuPolicyHash);
  if (policy === undefined)
    throw new AttestError("event-missing", 'event log: "gpu-attestation" without "gpu-policy-hash" before it');
  if (policy.payload.length !== 32)
    throw invalid(BOOT_EVENT.gpuPolicyHash, `${policy.payload.length} bytes, expected 32`);
  return { policyHash: hash32(policy.payload), ...parseGpuAttestation(attested.payload) };
}

/**
 * That this is the output which the guest measured, byte for byte.
 * @throws AttestError `gpu-evidence-mismatch`
 */
export function checkGpuEvidence(launch: GpuLaunch, savedOutput: Uint8Array): void {
  const digest = sha256(savedOutput);
  if (!equalBytes(digest, launch.evidenceSha256)) {
    throw new AttestError(
      "gpu-evidence-mismatch",
      `GPU attestation output of ${savedOutput.length} bytes: SHA-256 ${toHex(digest)}, measured at launch ${toHex(launch.evidenceSha256)}; take the file exactly as the guest saved it`,
    );
  }
}

function checkOrder(boot: readonly RuntimeEvent[]): void {
  let last = -1;
  for (const { event } of boot) {
    const place = ORDER.indexOf(event);
    if (place < 0) continue;
    if (place === last && event !== BOOT_EVENT.initScriptHash)
      throw new AttestError("event-duplicate", `event log: "${event}" comes twice before system-ready`);
    if (place < last)
      throw new AttestError(
        "event-order",
        `event log: "${event}" comes after "${ORDER[last]}"; expected the order ${ORDER.join(", ")}`,
      );
    last = place;
  }
}

function parseGpuAttestation(payload: Uint8Array): Omit<GpuLaunch, "policyHash"> {
  const fields = jsonObject(payload);
  const known = Object.keys(fields);
  if (known.length !== KEYS.length || !KEYS.every((key) => known.includes(key))) {
    throw invalid(BOOT_EVENT.gpuAttestation, `keys ${known.join(", ").slice(0, 200)}; expected ${KEYS.join(", ")}`);
  }
  const { version, provider, devices, cc_mode: ccMode, devtools, evidence_sha256: digest } = fields;
  if (version !== 2) throw invalid(BOOT_EVENT.gpuAttestation, `version ${show(version)}, expected 2`);
  if (provider !== "nvidia") throw invalid(BOOT_EVENT.gpuAttestation, `provider ${show(provider)}, expected "nvidia"`);
  if (ccMode !== "on") throw invalid(BOOT_EVENT.gpuAttestation, `cc_mode ${show(ccMode)}, expected "on"`);
  if (!isIntegerIn(devices, 1, MAX_DEVICES))
    throw invalid(BOOT_EVENT.gpuAttestation, `devices ${show(devices)}, expected 1 to ${MAX_DEVICES}`);
  if (typeof devtools !== "boolean")
    throw invalid(BOOT_EVENT.gpuAttestation, `devtools ${show(devtools)}, expected true or false`);
  if (typeof digest !== "string" || !/^[0-9a-f]{64}$/.test(digest))
    throw invalid(BOOT_EVENT.gpuAttestation, `evidence_sha256 ${show(digest)}, expected 64 lower-case hex digits`);
  return { devices, devtools, evidenceSha256: hash32(parseHexOfLength(digest, 32, "evidence_sha256")) };
}

function jsonObject(payload: Uint8Array): Record<string, unknown> {
  if (payload.length > MAX_PAYLOAD_BYTES)
    throw invalid(BOOT_EVENT.gpuAttestation, `${payload.length} bytes, limit ${MAX_PAYLOAD_BYTES}`);
  let text: string;
  let value: unknown;
  try {
    text = utf8Decode(payload, BOOT_EVENT.gpuAttestation);
    value = JSON.parse(text);
  } catch (cause) {
    throw new AttestError("event-invalid", 'event log: "gpu-attestation": not JSON text', { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid(BOOT_EVENT.gpuAttestation, "not a JSON object");
  // Repeated keys, spaces and other spellings of the same object do not survive being written again.
  if (JSON.stringify(value) !== text) throw invalid(BOOT_EVENT.gpuAttestation, "not compact JSON with each key once");
  return value as Record<string, unknown>;
}

const show = (value: unknown): string => String(JSON.stringify(value)).slice(0, 80);
const invalid = (event: string, text: string): AttestError =>
  new AttestError("event-invalid", `event log: "${event}": ${text}`);
