import assert from "node:assert/strict";
import { test } from "node:test";
import { mrConfigIdV1, mrConfigIdV2, mrConfigIdV3 } from "@dstack/attest";
import { appId, hash32, parseHex, toHex, utf8 } from "@dstack/bytes";
import { parseAppCompose } from "@dstack/compose";
import { vmmConfigSchema } from "../src/config/config-schema.ts";
import { VmmError } from "../src/errors.ts";
import { imageVersion } from "../src/launch/guest-image.ts";
import { launchBinding, NOT_BOUND } from "../src/launch/launch-binding.ts";
import { parseManifest } from "../src/vm/manifest.ts";
import { sysConfigText } from "../src/launch/sys-config.ts";
import { vmConfigOf } from "../src/launch/vm-config.ts";
import { checkVmmConfig } from "../src/config/vmm-config.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const compose = (over: object = {}) =>
  parseAppCompose(
    utf8(JSON.stringify({ manifest_version: 2, name: "a", runner: "docker-compose", key_provider: "kms", ...over })),
  );
const noInstance = { appId: "", instanceId: "", instanceIdSeed: "" };

vectorTest("MRCONFIGID has the bytes of the vectors", "vmm/mr_config.json", ({ json }) => {
  interface Case {
    version: number;
    compose_hash?: string;
    app_id?: string;
    key_provider?: "kms" | "local";
    key_provider_id?: string;
    document?: string;
    mr_config_id: string;
    qemu_base64: string;
  }
  for (const c of json<{ cases: Case[] }>("vmm/mr_config.json").cases) {
    const hash = hash32(parseHex(c.compose_hash ?? "00".repeat(32)));
    const id =
      c.version === 1
        ? mrConfigIdV1(hash)
        : c.version === 2
          ? mrConfigIdV2(
              hash,
              appId(parseHex(c.app_id ?? "")),
              c.key_provider ?? "kms",
              parseHex(c.key_provider_id ?? ""),
            )
          : mrConfigIdV3(c.document ?? "");
    assert.equal(toHex(id), c.mr_config_id);
    assert.equal(Buffer.from(id).toString("base64"), c.qemu_base64);
  }
});

test("the binding's version follows image, pin and configuration", () => {
  const pinned = compose({ key_provider_id: "33".repeat(32) });
  const bind = (text: string, parsed = pinned, useMrConfigId = true) =>
    launchBinding({
      compose: parsed,
      imageVersion: imageVersion(text),
      useMrConfigId,
      instanceInfo: { ...noInstance, appId: "11".repeat(20) },
      random: (length) => new Uint8Array(length).fill(7),
    });
  assert.equal(bind("0.6.0", compose()).mrConfigId?.[0], 1);
  assert.equal(bind("0.5.6").mrConfigId?.[0], 2);
  assert.equal(bind("0.6.0").mrConfigId?.[0], 3);
  assert.equal(bind("0.5.1").mrConfigId, undefined);
  assert.equal(bind("0.6.0", compose(), false).mrConfigId, undefined);
  assert.throws(
    () => bind("0.6.0", pinned, false),
    (error: unknown) => error instanceof VmmError && error.code === "config-invalid",
  );
  const three = bind("0.6.0");
  assert.equal(
    three.document,
    JSON.stringify({
      app_id: "11".repeat(20),
      compose_hash: toHex(pinned.composeHash),
      instance_id: three.instanceInfo?.instanceId,
      key_provider: "kms",
      key_provider_id: "33".repeat(32),
      version: 3,
    }),
  );
  assert.equal(three.instanceInfo?.instanceIdSeed, "07".repeat(20));
  const scripts = bind("0.6.0", compose({ manifest_version: "3", init_script: [], key_provider_id: "01" }));
  assert.match(scripts.document ?? "", /"init_script_hashes":\[\]/);
});

const config = (over: object = {}) =>
  checkVmmConfig(
    vmmConfigSchema.parse({
      cvm: { kms_urls: ["https://kms.example.com:9201"], gateway_urls: ["https://gateway.example.com:9202"], ...over },
    }),
    "/tmp",
  );

vectorTest(".sys-config.json has the members and the vm_config of the vectors", "vmm/sys_config", async (set) => {
  const expected = set.json<Record<string, string>>("vmm/sys_config/v0.6.0.json");
  const vmConfig = JSON.parse(expected["vm_config"] ?? "") as Record<string, unknown>;
  const image = {
    dir: "/nonexistent",
    name: "dstack-0.5.5",
    version: "0.5.5",
    metadata: { kernel: "k", initrd: "i", shared_ro: false, is_dev: false },
    osImageHash: hash32(parseHex(String(vmConfig["os_image_hash"]))),
    files: { kernel: "/k", initrd: "/i" },
  };
  const manifest = parseManifest(set.text("vmm/manifests/minimal.json"));
  const node = config({ guest_channel: "vsock" });
  const built = await vmConfigOf({ manifest, config: node, image, compose: compose(), qemuVersion: "9.1.0" });
  const launch = { vm: { manifest }, config: node, image, vmConfig: built, binding: NOT_BOUND };
  const text = sysConfigText(launch);
  assert.deepEqual(JSON.parse((JSON.parse(text) as { vm_config: string }).vm_config), vmConfig);
  assert.deepEqual({ ...(JSON.parse(text) as object), vm_config: "" }, { ...expected, vm_config: "" });
  // Released guests know of one server; ours are told of all.
  const several = JSON.parse(
    sysConfigText({ ...launch, config: config({ pccs_url: ["https://a", "https://b"] }) }),
  ) as Record<string, unknown>;
  assert.deepEqual(
    [several["pccs_url"], several["collateral_urls"], several["pccs_urls"]],
    ["https://a", { pccs: "https://a" }, ["https://a", "https://b"]],
  );
  assert.throws(
    () => sysConfigText({ ...launch, image: { ...image, version: "0.4.9" } }),
    /Unsupported image version: \(0, 4, 9\)/,
  );
});
