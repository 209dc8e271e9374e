import { hash48, parseHexOfLength, parseJson } from "@dstack/bytes";
import type { Hash48 } from "@dstack/bytes";
import { SimulatorError } from "./errors.ts";
import { parseSeed } from "./mock-key.ts";
import type { MockSeed } from "./mock-key.ts";
import type { TdMeasurements } from "./mock-quote.ts";

/** What the host tells the simulated TEE (`.tee-simulator.json` of the host share). */
export interface SimulatorConfig {
  readonly seed: MockSeed;
  readonly launch: TdMeasurements;
  /** The firmware's event log as the guest will read it. */
  readonly ccel: Uint8Array;
}

/**
 * Reads `platform`, `mock_attestation_seed` and `tdx` {mrtd, rtmr0, rtmr1, rtmr2, mr_config_id, ccel
 * base64}. Other members are of other platforms or of no use here and left alone. Checked by hand: a
 * schema library would cost an emulated guest a second of its boot.
 * @throws SimulatorError `config-invalid`, `seed-invalid`
 */
export function parseSimulatorConfig(text: string): SimulatorConfig {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    throw new SimulatorError("config-invalid", "simulator configuration: not valid JSON", { cause });
  }
  const root = object(value, "the document");
  const platform = member(root, "platform");
  if (platform !== "dstack-tdx") throw invalid(`platform is ${platform.slice(0, 40)}, expected dstack-tdx`);
  const tdx = object(root["tdx"], "tdx");
  return {
    seed: parseSeed(member(root, "mock_attestation_seed")),
    launch: {
      mrTd: register(tdx, "mrtd"),
      rtmr: [register(tdx, "rtmr0"), register(tdx, "rtmr1"), register(tdx, "rtmr2"), hash48(new Uint8Array(48))],
      mrConfigId: register(tdx, "mr_config_id"),
    },
    ccel: base64(member(tdx, "ccel")),
  };
}

function object(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(`${name} is not an object`);
  return value as Record<string, unknown>;
}

function member(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") throw invalid(`${name} is missing or no text`);
  return value;
}

function register(fields: Record<string, unknown>, name: string): Hash48 {
  const text = member(fields, name);
  try {
    return hash48(parseHexOfLength(text, 48, name));
  } catch (cause) {
    throw new SimulatorError("config-invalid", `simulator configuration: ${name}: expected 96 hex digits`, { cause });
  }
}

function base64(text: string): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) throw invalid("ccel is not base64");
  return new Uint8Array(bytes);
}

const invalid = (text: string): SimulatorError =>
  new SimulatorError("config-invalid", `simulator configuration: ${text}`);
