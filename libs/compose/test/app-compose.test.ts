import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex, utf8 } from "@dstack/bytes";
import {
  APP_COMPOSE_MAX_BYTES,
  appIdFromComposeHash,
  checkPolicy,
  ComposeError,
  deriveInstanceId,
  launchTokenHash,
  normalisedComposeHash,
  normalisedComposeText,
  osVersionSatisfies,
  parseAppCompose,
  type AppCompose,
} from "../src/index.ts";
import { appId } from "@dstack/bytes";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const minimal = { manifest_version: 2, name: "t", runner: "docker-compose" };
const parse = (value: unknown): AppCompose => parseAppCompose(utf8(JSON.stringify(value))).compose;
const facts = {
  osVersion: "0.6.0",
  platform: "dstack-tdx",
  tdxAttestationVariant: undefined,
  userConfig: undefined,
} as const;

interface ParseCase {
  name: string;
  compose: unknown;
  parse: "ok" | "error";
  stage?: string;
  error_contains?: string;
  effective?: Record<string, unknown>;
}

describe("app-compose.json", () => {
  vectorTest("parses as the vectors say", "guest/app-compose-parse.json", ({ json }) => {
    for (const row of json<ParseCase[]>("guest/app-compose-parse.json")) {
      if (row.parse === "error") {
        assert.throws(
          () => parse(row.compose),
          (error: Error) => error instanceof ComposeError && error.message.includes(row.error_contains ?? ""),
          row.name,
        );
        continue;
      }
      const compose = parse(row.compose);
      const policy = checkPolicy(compose, facts);
      if (row.stage === "policy") assert.ok(!policy.ok && policy.reason.includes(row.error_contains ?? ""), row.name);
      const effective: Record<string, unknown> = {
        manifest_version: String(compose.manifestVersion),
        public_logs: compose.publicLogs,
        public_sysinfo: compose.publicSysinfo,
        public_tcbinfo: compose.publicTcbinfo,
        secure_time: compose.secureTime,
        no_instance_id: compose.noInstanceId,
        gateway_enabled: compose.gatewayEnabled,
        key_provider: compose.keyProvider,
        key_provider_id: toHex(compose.keyProviderId),
        swap_size: Number(compose.swapSizeBytes),
        init_scripts: compose.initScripts.length,
        event_log_version: compose.eventLogVersion,
        storage_fs: compose.storageFs,
      };
      for (const [key, value] of Object.entries(row.effective ?? {}))
        assert.equal(effective[key], value, `${row.name}: ${key}`);
    }
  });

  vectorTest("hashes the bytes as they are, final newline included (DS #550)", "guest/compose-hash-raw.json", (set) => {
    const bytes = set.bytes("guest/simulator-0.6/app-compose.json");
    const [row] = set.json<{ compose_hash: string; default_app_id: string }[]>("guest/compose-hash-raw.json");
    const parsed = parseAppCompose(bytes);
    assert.equal(toHex(parsed.composeHash), row?.compose_hash);
    assert.equal(toHex(appIdFromComposeHash(parsed.composeHash)), row?.default_app_id);
    assert.equal(parsed.bytes, bytes);
  });

  it("refuses a member that is given twice", () => {
    const text = '{"manifest_version":2,"name":"t","runner":"docker-compose","public_logs":false,"public_logs":true}';
    assert.throws(() => parseAppCompose(utf8(text)), /duplicate field `public_logs`/);
  });

  it("refuses trailing text, invalid UTF-8, deep nesting and a prototype trick", () => {
    const text = JSON.stringify(minimal);
    assert.throws(() => parseAppCompose(utf8(`${text}x`)), { code: "json-invalid" });
    assert.throws(() => parseAppCompose(new Uint8Array([0x7b, 0xff, 0x7d])), { code: "json-invalid" });
    assert.throws(() => parseAppCompose(utf8(`${"[".repeat(5000)}${"]".repeat(5000)}`)), { code: "json-invalid" });
    assert.equal(
      parseAppCompose(utf8(text.replace("{", '{"__proto__":{"gateway_enabled":true},'))).compose.gatewayEnabled,
      false,
    );
  });

  it("refuses a file above the size limit before reading it", () => {
    assert.throws(() => parseAppCompose(new Uint8Array(APP_COMPOSE_MAX_BYTES + 1)), { code: "too-large" });
  });

  it("gives a wrong type, a wrong number form and null a message with the field's name", () => {
    for (const [member, value] of [
      ["secure_time", "yes"],
      ["allowed_envs", "A"],
      ["allowed_envs", [1]],
      ["name", null],
      ["swap_size", 1.5],
      ["event_log_version", 3],
      ["key_provider_id", "0xab"],
    ] as const) {
      assert.throws(
        () => parse({ ...minimal, [member]: value }),
        (error: Error) =>
          error instanceof ComposeError &&
          /secure_time|allowed_envs|name|swap_size|event log version|key_provider_id/.test(error.message),
        `${member}`,
      );
    }
  });

  it("treats null scripts as absent and names members that it does not read", () => {
    const compose = parse({
      ...minimal,
      pre_launch_script: null,
      docker_compose_file: null,
      init_script: null,
      docker_config: {},
    });
    assert.equal(compose.preLaunchScript, undefined);
    assert.deepEqual(compose.unknownFields, ["docker_config"]);
  });

  it("resolves the tproxy alias although gateway_enabled says no (NM #3415)", () => {
    assert.equal(parse({ ...minimal, gateway_enabled: false, tproxy_enabled: true }).gatewayEnabled, true);
    assert.equal(parse({ ...minimal, features: ["tproxy-net"] }).gatewayEnabled, true);
  });

  it("keeps integers beyond 2^53 exact", () => {
    assert.equal(
      parseAppCompose(utf8('{"manifest_version":2,"name":"t","runner":"r","swap_size":18446744073709551615}')).compose
        .swapSizeBytes,
      18446744073709551615n,
    );
    assert.throws(
      () => parseAppCompose(utf8('{"manifest_version":2,"name":"t","runner":"r","swap_size":18446744073709551616}')),
      { code: "manifest-invalid" },
    );
  });
});

describe("identities", () => {
  vectorTest("derive as the vector says", "guest/instance-id.json", ({ json }) => {
    for (const row of json<{ instance_id_seed: string; app_id: string; instance_id: string }[]>(
      "guest/instance-id.json",
    )) {
      assert.equal(
        toHex(deriveInstanceId(Buffer.from(row.instance_id_seed, "hex"), appId(Buffer.from(row.app_id, "hex")))),
        row.instance_id,
      );
    }
  });

  it("refuse parts of other lengths, since the hash has no separators (#549, #554)", () => {
    const app = appId(new Uint8Array(20));
    assert.throws(() => deriveInstanceId(new Uint8Array(19), app), { code: "length-wrong" });
    assert.throws(() => deriveInstanceId(new Uint8Array(21), app), { code: "length-wrong" });
  });
});

describe("normalised compose hash", () => {
  vectorTest("agrees with the published JavaScript client", "guest/compose-hash.json", ({ json }) => {
    for (const row of json<
      {
        name: string;
        normalize: boolean;
        compose: Record<string, unknown>;
        serialized: string;
        js_0_5_8: string;
        python_0_5_4: string;
      }[]
    >("guest/compose-hash.json")) {
      const nerdctl = row.compose["runner"] === "nerdctl-compose" && row.normalize;
      if (!nerdctl) assert.equal(normalisedComposeText(row.compose, row.normalize), row.serialized, row.name);
      // The newest clients drop bash_script for nerdctl-compose too; the 0.5.8 client did not.
      assert.equal(
        toHex(normalisedComposeHash(row.compose, row.normalize)),
        nerdctl ? row.python_0_5_4 : row.js_0_5_8,
        row.name,
      );
    }
  });
});

describe("launch policy", () => {
  const withRequirements = (requirements: unknown): AppCompose =>
    parse({ ...minimal, manifest_version: "3", requirements });

  vectorTest("computes token and GPU policy hashes as the vectors say", "guest/launch-policy.json", ({ json }) => {
    const vectors = json<{
      launch_token: { token: string; launch_token_hash: string }[];
      gpu_policy: { source: string; sha256: string }[];
    }>("guest/launch-policy.json");
    for (const row of vectors.launch_token) assert.equal(toHex(launchTokenHash(row.token)), row.launch_token_hash);
    assert.equal(toHex(parse(minimal).gpuPolicyHash), vectors.gpu_policy[0]?.sha256);
    assert.equal(toHex(withRequirements({ gpu_policy: {} }).gpuPolicyHash), vectors.gpu_policy[0]?.sha256);
    assert.equal(
      toHex(withRequirements({ gpu_policy: { attest_gpu: true } }).gpuPolicyHash),
      vectors.gpu_policy[1]?.sha256,
    );
  });

  vectorTest("judges OS versions as the vectors say", "guest/os-version-requirement.json", ({ json }) => {
    for (const row of json<{ requirement: string; current: string; result: boolean | string }[]>(
      "guest/os-version-requirement.json",
    )) {
      const result = osVersionSatisfies(row.current, row.requirement);
      assert.equal(
        result,
        row.result === true ? "yes" : row.result === false ? "no" : "current-invalid",
        JSON.stringify(row),
      );
    }
    assert.equal(osVersionSatisfies("0.6.5", "0.6.0"), "yes");
    assert.equal(osVersionSatisfies("0.7.0", "0.6.0"), "no");
  });

  it("demands a launch token that hashes to the pinned value", () => {
    const token = "unit-test-launch-token-0000000001";
    const compose = withRequirements({ launch_token_hash: toHex(launchTokenHash(token)) });
    const check = (userConfig: string | undefined): unknown =>
      checkPolicy(compose, { ...facts, userConfig: userConfig === undefined ? undefined : utf8(userConfig) });
    assert.deepEqual(check(JSON.stringify({ dstack: { launch_token: token } })), { ok: true });
    for (const [config, reason] of [
      [JSON.stringify({ dstack: { launch_token: `${token}x` } }), /launch token mismatch/],
      [JSON.stringify({ dstack: { launch_token: "short" } }), /too short: got 5 bytes/],
      [JSON.stringify({ dstack: { launch_token: 1 } }), /is not a string/],
      ["{}", /is missing dstack.launch_token/],
      ["nope", /failed to parse user_config as JSON/],
      [undefined, /failed to parse user_config as JSON/],
    ] as const) {
      assert.match((check(config) as { reason: string }).reason, reason);
    }
  });

  it("refuses another platform, an unmeasured mode and a newer manifest", () => {
    const reason = (compose: AppCompose): string => (checkPolicy(compose, facts) as { reason: string }).reason;
    assert.match(
      reason(withRequirements({ platforms: ["dstack-gcp-tdx"] })),
      /current dstack-tdx, allowed \[dstack-gcp-tdx\]/,
    );
    assert.match(reason(withRequirements({ platforms: [] })), /is empty/);
    assert.match(reason(withRequirements({ tdx_measure_acpi_tables: false })), /requires TDX lite attestation/);
    assert.match(
      reason(parse({ ...minimal, manifest_version: "4" })),
      /Unsupported manifest_version: 4, max supported: 3/,
    );
    assert.match(
      reason(parse({ ...minimal, manifest_version: "3", snapshotter: "stargz" })),
      /snapshotter is only supported/,
    );
  });
});
