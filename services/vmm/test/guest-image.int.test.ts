/** What the VMM tells a simulated TEE, of a guest image that is built: `npm test` builds one before these tests. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseCcel } from "@dstack/attest";
import { toHex, utf8 } from "@dstack/bytes";
import { parseAppCompose } from "@dstack/compose";
import { readImageDirectory } from "@dstack/image";
import { vmmConfigSchema } from "../src/config/config-schema.ts";
import { checkVmmConfig } from "../src/config/vmm-config.ts";
import { imageVersion } from "../src/launch/guest-image.ts";
import { launchBinding } from "../src/launch/launch-binding.ts";
import { teeSimulatorText } from "../src/launch/sys-config.ts";
import { vmConfigOf } from "../src/launch/vm-config.ts";
import { parseManifest } from "../src/vm/manifest.ts";

const images = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dstack/images");

/** The folder of a built image of the flavour that brings the simulator. */
function simImage(): string {
  const name = (existsSync(images) ? readdirSync(images) : []).find(
    (name) => name.startsWith("dstack-sim-") && existsSync(join(images, name, "metadata.json")),
  );
  assert.ok(name !== undefined, `no guest image of flavour sim in ${images}; dstack image build --flavour sim`);
  return join(images, name);
}

interface Simulator {
  readonly platform: string;
  readonly mock_attestation_seed: string;
  readonly collateral_base_url: string;
  readonly tdx: Readonly<Record<string, string>>;
}

test("the simulator is told measurements of the very files QEMU gets, and a swapped initrd shows", async () => {
  const image = await readImageDirectory(simImage());
  const node = checkVmmConfig(
    vmmConfigSchema.parse({
      cvm: {
        kms_urls: ["https://kms.example.com:9201"],
        gateway_urls: ["https://gateway.example.com:9202"],
        tee_simulator: { mock_attestation_seed: "AA".repeat(32), collateral_base_url: "http://10.0.2.2:9306" },
      },
    }),
    "/tmp",
  );
  const manifest = parseManifest(
    JSON.stringify({
      id: "a",
      name: "a",
      app_id: "",
      vcpu: 2,
      memory: 2048,
      disk_size: 1,
      image: image.name,
      port_map: [],
      created_at_ms: 0,
      no_tee: true,
      simulated_tee: "dstack-tdx",
    }),
  );
  const app = parseAppCompose(
    utf8(JSON.stringify({ manifest_version: 2, name: "a", runner: "docker-compose", key_provider: "kms" })),
  );
  const binding = launchBinding({
    compose: app,
    imageVersion: imageVersion(image.version),
    useMrConfigId: true,
    instanceInfo: { appId: "", instanceId: "", instanceIdSeed: "" },
  });
  const vmConfig = await vmConfigOf({ manifest, config: node, image, compose: app, qemuVersion: "10.0.2" });
  assert.equal(vmConfig.attestationVariant, "legacy");
  const tell = async (files: typeof image.files): Promise<Simulator> =>
    JSON.parse(
      (await teeSimulatorText({ vm: { manifest }, config: node, image: { ...image, files }, vmConfig, binding })) ?? "",
    ) as Simulator;

  const told = await tell(image.files);
  assert.deepEqual(
    [told.platform, told.mock_attestation_seed, told.collateral_base_url],
    ["dstack-tdx", "aa".repeat(32), "http://10.0.2.2:9306"],
  );
  assert.equal(told.tdx["mr_config_id"], `01${toHex(app.composeHash)}${"00".repeat(15)}`);
  for (const register of ["mrtd", "rtmr0", "rtmr1", "rtmr2"]) assert.match(told.tdx[register] ?? "", /^[0-9a-f]{96}$/);
  assert.ok(parseCcel(new Uint8Array(Buffer.from(told.tdx["ccel"] ?? "", "base64"))).length > 10);

  const swapped = await tell({ ...image.files, initrd: image.files.kernel });
  assert.notEqual(swapped.tdx["rtmr2"], told.tdx["rtmr2"]);
  assert.equal(swapped.tdx["mrtd"], told.tdx["mrtd"]);
});
