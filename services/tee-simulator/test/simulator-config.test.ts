import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatorError } from "@dstack/tee-simulator";
import { parseSimulatorConfig } from "../src/simulator-config.ts";

const tdx = {
  mrtd: "01".repeat(48),
  rtmr0: "02".repeat(48),
  rtmr1: "03".repeat(48),
  rtmr2: "04".repeat(48),
  mr_config_id: "05".repeat(48),
  ccel: "AQID",
};
const good = {
  platform: "dstack-tdx",
  mock_attestation_seed: "31".repeat(32),
  collateral_base_url: "http://10.0.2.2:9306",
  vm_config: "{}",
  tdx,
};

test("reads what the host writes", () => {
  const config = parseSimulatorConfig(JSON.stringify(good));
  assert.deepEqual(
    [config.launch.mrTd[0], config.launch.rtmr.map((value) => value[0]), config.launch.mrConfigId[0]],
    [1, [2, 3, 4, 0], 5],
  );
  assert.deepEqual(config.ccel, Uint8Array.of(1, 2, 3));
});

test("refuses what is missing, too short or of another platform", () => {
  const bad: unknown[] = [
    [],
    { ...good, platform: "dstack-amd-sev-snp" },
    { ...good, tdx: undefined },
    { ...good, mock_attestation_seed: "31" },
    { ...good, tdx: { ...tdx, rtmr2: "04" } },
    { ...good, tdx: { ...tdx, ccel: "A" } },
    { ...good, tdx: { ...tdx, mrtd: 5 } },
  ];
  for (const value of bad) assert.throws(() => parseSimulatorConfig(JSON.stringify(value)), SimulatorError);
  assert.throws(() => parseSimulatorConfig("{"), SimulatorError);
});
