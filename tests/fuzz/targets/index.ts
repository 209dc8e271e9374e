import type { Target } from "../target.ts";
import { appInfo, attestationV0, attestationV1, ccel, collateralTarget, eventLog, quote } from "./attest.ts";
import { imageMetadata, tdxMeasurement, vmConfig } from "./image.ts";
import { csr, ratlsExtension } from "./ratls.ts";

const ALL: readonly Target[] = [
  quote,
  collateralTarget,
  eventLog,
  ccel,
  attestationV0,
  attestationV1,
  appInfo,
  ratlsExtension,
  csr,
  imageMetadata,
  vmConfig,
  tdxMeasurement,
];

/** Every fuzz target by its name. */
export const TARGETS: ReadonlyMap<string, Target> = new Map(ALL.map((target) => [target.name, target]));
