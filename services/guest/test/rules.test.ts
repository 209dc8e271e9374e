import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { appId, hash32, hash48, parseHex, toHex, utf8 } from "@dstack/bytes";
import { buildAppCompose, parseAppCompose } from "@dstack/compose";
import { guestNetwork, generateWireGuardKeys } from "@dstack/wireguard";
import { defaultGateways } from "../src/agent/network-info.ts";
import { lastWords } from "../src/app/app-start.ts";
import { mergeDockerConfig } from "../src/app/docker-config.ts";
import { GatewaySchedule, retryPause } from "../src/gateway/gateway-checker.ts";
import { parseGatewayIds } from "../src/gateway/gateway-registration.ts";
import { firewallCommands } from "../src/system/firewall.ts";
import { truncateUtf8 } from "../src/host/host-link.ts";
import { instanceInfoJson, resolveIdentity } from "../src/identity/identity.ts";
import { parseKernelOptions } from "../src/system/kernel-options.ts";
import { checkLaunchBinding, type LaunchFacts } from "../src/identity/launch-binding.ts";
import { unquoteOsRelease } from "../src/system/os-release.ts";
import { parseInstanceInfo, parseSystemConfig, rpcUrl } from "../src/host/system-config.ts";
import { vectorSets, vectorTest } from "../../../tests/vectors/vector-sets.ts";

describe("the host's configuration", () => {
  it("is read with its legacy names, and refused with the name of what is wrong", () => {
    const config = parseSystemConfig(
      JSON.stringify({
        kms_urls: ["https://a"],
        tproxy_urls: ["https://b"],
        pccs_url: "https://p",
        docker_registry: "",
        vm_config: '{"tdx_attestation_variant":"lite"}',
      }),
    );
    assert.deepEqual(
      [config.gatewayUrls, config.pccsUrls[0], config.dockerRegistry, config.tdxAttestationVariant],
      [["https://b"], "https://p", undefined, "lite"],
    );
    const many = parseSystemConfig('{"vm_config":"","pccs_url":"https://p","pccs_urls":["https://p","https://q"]}');
    assert.deepEqual(many.pccsUrls, ["https://p", "https://q"]);
    assert.deepEqual(parseSystemConfig('{"vm_config":"","collateral_urls":{"pccs":""}}').pccsUrls, []);
    assert.throws(() => parseSystemConfig("{}"), /vm_config: expected a string/);
    assert.throws(() => parseSystemConfig('{"vm_config":"","kms_urls":["nonsense"]}'), /kms_urls: expected URLs/);
    assert.throws(() => parseSystemConfig("[]"), { code: "config-invalid" });
    assert.throws(() => parseInstanceInfo('{"instance_id_seed":"00"}'), { code: "config-invalid" });
  });

  vectorTest("gives RPC addresses with exactly one /prpc", "guest/gateway-rpc-url.json", ({ json }) => {
    for (const row of json<{ base: string; rpc: string }[]>("guest/gateway-rpc-url.json"))
      assert.equal(rpcUrl(row.base), row.rpc);
  });

  vectorTest("unquotes os-release values as the vectors say", "guest/os-release-unquote.json", ({ json }) => {
    for (const row of json<{ raw: string; value: string }[]>("guest/os-release-unquote.json"))
      assert.equal(unquoteOsRelease(row.raw), row.value);
  });

  it("takes storage options from the measured command line, the last of each", () => {
    assert.deepEqual(parseKernelOptions("quiet dstack.storage_fs=zfs dstack.storage_fs=ext4\n"), {
      storageEncrypted: true,
      storageFs: "ext4",
      dataDevice: undefined,
    });
    assert.equal(parseKernelOptions("dstack.storage_encrypted=off").storageEncrypted, false);
    assert.throws(() => parseKernelOptions("dstack.storage_encrypted=maybe"), { code: "config-invalid" });
  });
});

describe("identity", () => {
  const manifest = buildAppCompose({ name: "a", dockerComposeFile: "services: {}" });
  const random = (size: number): Uint8Array => new Uint8Array(size).fill(9);

  it("keeps app id and seed of earlier boots, and makes them at the first", () => {
    const first = resolveIdentity(manifest, { appId: new Uint8Array(), instanceIdSeed: new Uint8Array() }, random);
    assert.equal(toHex(first.appId), toHex(manifest.composeHash).slice(0, 40));
    const again = resolveIdentity(manifest, parseInstanceInfo(instanceInfoJson(first)), () =>
      assert.fail("nothing random the second time"),
    );
    assert.deepEqual(again, first);
  });

  it("makes a new seed at every boot when no key outlives one", () => {
    const none = buildAppCompose({ name: "a", dockerComposeFile: "services: {}", keyProvider: "none" });
    assert.deepEqual(
      resolveIdentity(none, { appId: new Uint8Array(20), instanceIdSeed: new Uint8Array(20) }, random).instanceIdSeed,
      random(20),
    );
  });

  it("refuses an app id of another length and gives no instance id where none is wanted", () => {
    assert.throws(
      () => resolveIdentity(manifest, { appId: new Uint8Array(19), instanceIdSeed: new Uint8Array() }, random),
      /Invalid app id length: expected 20 bytes, got 19/,
    );
    const single = buildAppCompose({ name: "a", dockerComposeFile: "services: {}", noInstanceId: true });
    assert.equal(
      resolveIdentity(single, { appId: new Uint8Array(), instanceIdSeed: new Uint8Array() }, random).instanceId.length,
      0,
    );
  });
});

for (const set of vectorSets("guest/mr-config-id.json")) {
  describe(`launch binding (${set.name})`, () => {
    const vectors = (): {
      inputs: { compose_hash: string; app_id: string; key_provider_id: string };
      v1: string;
      v2_kms: string;
      v3: { document: string; mr_config_id: string };
    } => set.json("guest/mr-config-id.json");
    const facts = (): LaunchFacts => {
      const { inputs, v3 } = vectors();
      return {
        composeHash: hash32(parseHex(inputs.compose_hash)),
        identity: {
          appId: appId(parseHex(inputs.app_id)),
          instanceId: parseHex("44".repeat(20)) as LaunchFacts["identity"]["instanceId"],
          instanceIdSeed: new Uint8Array(20),
        },
        keyProvider: "kms",
        keyProviderId: parseHex(inputs.key_provider_id),
        gpuPolicyHash: hash32(parseHex("55".repeat(32))),
        initScriptHashes: [],
        mrConfig: v3.document,
      };
    };

    it("accepts all three versions over the same facts, and says when nothing is bound (#559)", () => {
      for (const id of [vectors().v1, vectors().v2_kms, vectors().v3.mr_config_id])
        assert.equal(checkLaunchBinding(hash48(parseHex(id)), facts()), "bound");
      assert.equal(checkLaunchBinding(hash48(new Uint8Array(48)), facts()), "not-bound");
    });

    it("refuses another manifest, app, provider, document and version", () => {
      const other = hash32(new Uint8Array(32).fill(1));
      for (const [id, changed] of [
        [vectors().v1, { composeHash: other }],
        [vectors().v2_kms, { keyProviderId: new Uint8Array() }],
        [vectors().v2_kms, { keyProvider: "local" }],
        [vectors().v3.mr_config_id, { composeHash: other }],
        [vectors().v3.mr_config_id, { gpuPolicyHash: other }],
        [vectors().v3.mr_config_id, { mrConfig: `${vectors().v3.document} ` }],
        [vectors().v3.mr_config_id, { mrConfig: undefined }],
        [`04${"00".repeat(47)}`, {}],
      ] as const) {
        assert.throws(
          () => checkLaunchBinding(hash48(parseHex(id)), { ...facts(), ...changed }),
          { code: "binding-mismatch" },
          `${id} ${JSON.stringify(Object.keys(changed))}`,
        );
      }
    });
  });
}

describe("gateway", () => {
  vectorTest("schedule asks as often as the vectors say", "guest/gateway-checker.json", ({ json }) => {
    const vectors = json<{
      replay_900s_config_present_all_refreshes_succeed_start_with_no_previous_attempt: {
        forced: number;
        periodic_at_least?: number;
      }[];
      backoff_after_n_consecutive_failures: number[];
    }>("guest/gateway-checker.json");
    const handshakes: ((t: number) => number | undefined)[] = [
      (t) => t,
      () => undefined,
      () => 0,
      (t) => Math.min(t, 180),
      (t) => (t < 540 ? undefined : t),
    ];
    vectors.replay_900s_config_present_all_refreshes_succeed_start_with_no_previous_attempt.forEach((row, i) => {
      const schedule = new GatewaySchedule(true, 0);
      const counts = { forced: 0, periodic: 0 };
      for (let t = 0; t < 900; t += 10) {
        const action = schedule.next(t, handshakes[i]?.(t));
        if (action === undefined) continue;
        counts[action === "periodic" ? "periodic" : "forced"]++;
        schedule.done(action, true, t);
      }
      assert.equal(counts.forced, row.forced, `row ${i}`);
      assert.ok(counts.periodic >= (row.periodic_at_least ?? 0), `row ${i}`);
    });
    vectors.backoff_after_n_consecutive_failures.forEach((seconds, failures) =>
      assert.equal(retryPause(failures), seconds),
    );
  });

  it("schedule registers at once without a tunnel and then with growing pauses", () => {
    const schedule = new GatewaySchedule(false, 0);
    assert.equal(schedule.next(0, undefined), "missing-config");
    schedule.done("missing-config", false, 0);
    assert.equal(schedule.next(29, undefined), undefined);
    assert.equal(schedule.next(30, undefined), "missing-config");
    schedule.done("missing-config", false, 30);
    assert.equal(schedule.next(89, undefined), undefined);
    assert.equal(schedule.next(90, undefined), "missing-config");
    schedule.done("missing-config", true, 90);
    assert.equal(schedule.next(100, undefined), undefined);
  });

  it("ids are exact: no part of one, no list with a gap, and never anybody (#607)", () => {
    assert.equal(parseGatewayIds(` ${"ab".repeat(20)} , 0x${"cd".repeat(20)}`).length, 2);
    for (const text of [
      "any",
      "",
      "ab",
      "ab".repeat(21),
      `${"ab".repeat(20)},`,
      `${"ab".repeat(20)} ${"cd".repeat(20)}`,
    ])
      assert.throws(() => parseGatewayIds(text), { code: "gateway-failed" }, text);
  });

  it("firewall lets only the endpoints in, and is closed before it is in force", () => {
    const answer = {
      clientIp: "10.4.0.7",
      servers: [{ pk: generateWireGuardKeys().publicKey, ip: "10.4.0.1/24", endpoint: "203.0.113.2:9202" }],
    };
    const hosts = guestNetwork(generateWireGuardKeys().privateKey, answer).device.peers.map(
      (peer) => peer.endpoint?.host ?? "",
    );
    const lines = firewallCommands(9182, hosts).map(({ args }) => args.join(" "));
    assert.deepEqual(lines, [
      "-w 10 -N DSTACK_WG",
      "-w 10 -F DSTACK_WG",
      "-w 10 -A DSTACK_WG -s 203.0.113.2 -j ACCEPT",
      "-w 10 -A DSTACK_WG -j DROP",
      "-w 10 -D INPUT -p udp --dport 9182 -j DSTACK_WG",
      "-w 10 -I INPUT -p udp --dport 9182 -j DSTACK_WG",
    ]);
  });
});

describe("Docker", () => {
  it("configuration keeps what the image sets and gets the mirror", () => {
    assert.deepEqual(JSON.parse(mergeDockerConfig('{"storage-driver":"overlay2"}', "http://10.0.2.2:9307")), {
      "userland-proxy": false,
      "storage-driver": "overlay2",
      ipv6: false,
      ip6tables: false,
      "registry-mirrors": ["http://10.0.2.2:9307"],
      "insecure-registries": ["10.0.2.2:9307"],
    });
    assert.equal(
      (JSON.parse(mergeDockerConfig(undefined, "https://mirror.example")) as Record<string, unknown>)[
        "insecure-registries"
      ],
      undefined,
    );
    for (const mirror of ["ftp://x", "nonsense", "http://user:pass@x"])
      assert.throws(() => mergeDockerConfig("{}", mirror), { code: "config-invalid" });
    assert.throws(() => mergeDockerConfig("[]", undefined), /Invalid daemon.json/);
  });

  it("errors are told without colours and progress", () => {
    assert.equal(
      lastWords("\u001b[1mweb Pulling\u001b[0m \n web Error denied\nError response from daemon: denied\n"),
      "web Error denied; Error response from daemon: denied",
    );
  });
});

describe("texts", () => {
  it("are cut at a character's boundary (DS #1278)", () => {
    assert.equal(truncateUtf8("aé✓", 6), "aé✓");
    assert.equal(truncateUtf8("aé✓", 5), "aé");
    assert.equal(truncateUtf8("aé✓", 2), "a");
    assert.ok(utf8(truncateUtf8("✓".repeat(3000), 4096)).length <= 4096);
  });

  it("of the route table give the default gateway", () => {
    assert.deepEqual(
      defaultGateways("Iface\tDestination\tGateway\neth0\t00000000\t0202000A\t3\neth0\t0002000A\t00000000\t1\n"),
      [{ address: "10.0.2.2" }],
    );
  });
});

describe("a manifest's own bytes", () => {
  it("are what the identity comes from, whatever they parse to", () => {
    const a = parseAppCompose(utf8('{"manifest_version":2,"name":"t","runner":"docker-compose"}'));
    const b = parseAppCompose(utf8('{"manifest_version":2,"name":"t","runner":"docker-compose"} '));
    assert.notEqual(toHex(a.composeHash), toHex(b.composeHash));
  });
});
