import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appId, hash32, parseHex, toHex, utf8 } from "@dstack/bytes";
import { encodeKeyProviderInfo, type AppInfo } from "@dstack/attest";
import { describe, test } from "node:test";
import type { HistoryEntry } from "@dstack/governance/history";
import { appFacts, type AppFactsInput } from "../src/verify/app-facts.ts";
import { fullReportText } from "../src/verify/report.ts";
import type { Fact } from "../src/verify/fact.ts";
import type { VerifyResult } from "../src/verify/result.ts";

const zero = hash32(new Uint8Array(32));
const manifestOf = (change: Record<string, unknown> = {}): string =>
  JSON.stringify({
    manifest_version: 2,
    name: "app",
    runner: "docker-compose",
    docker_compose_file: "services:\n  web:\n    image: nginx:latest\n",
    ...change,
  });

function input(
  manifest: string,
  change: { provider?: { name: string; id: string }; app?: Partial<AppInfo> } & Partial<
    Omit<AppFactsInput, "app">
  > = {},
): AppFactsInput {
  const { provider = { name: "none", id: "" }, app, ...rest } = change;
  const composeHash = hash32(new Uint8Array(createHash("sha256").update(utf8(manifest)).digest()));
  return {
    manifest,
    app: {
      appId: appId(composeHash.slice(0, 20)),
      composeHash,
      instanceId: new Uint8Array(0) as AppInfo["instanceId"],
      deviceId: zero,
      deviceIdLegacy: zero,
      mrSystem: zero,
      mrAggregated: zero,
      osImageHash: zero,
      keyProviderInfo: encodeKeyProviderInfo(provider),
      initScriptHashes: [],
      ...app,
    },
    osImage: { checks: [], ok: true, reason: "", hash: zero },
    platform: { status: "UpToDate", advisoryIds: [], relaunchAdvised: false, ppid: new Uint8Array(16) },
    kmsMeta: undefined,
    tlsKey: undefined,
    policyHistory: undefined,
    ...rest,
  };
}

const facts = async (value: AppFactsInput): Promise<Fact[]> =>
  (await appFacts(value)).flatMap((section) => section.facts);
const warnings = async (value: AppFactsInput): Promise<string> =>
  (await facts(value))
    .filter(({ warning }) => warning === true)
    .map(({ name, value: text }) => `${name}: ${text}`)
    .join("\n");
const told = async (value: AppFactsInput, name: string): Promise<string> =>
  (await facts(value))
    .filter((fact) => fact.name === name)
    .map((fact) => fact.value)
    .join("\n");

test("other versions that were ever allowed on the app's disk are told from the policy's history", async () => {
  const provider = { name: "kms", id: "30" };
  const own = input(manifestOf(), { provider });
  const change = (sign: "+" | "-", app: string, value: string): HistoryEntry => ({
    sequence: 1,
    at: "2026-01-02T03:04:05Z",
    by: "a@b",
    before: "",
    after: "",
    changes: [
      { sign, path: `apps.${app}.composeHashes`, value },
      { sign: "+", path: `apps.${app}.devices`, value: `0x${"99".repeat(32)}` },
    ],
    previous: "",
    key: "",
    signature: "",
  });
  const app = `0x${toHex(own.app.appId)}`;
  const [present, other] = [`0x${toHex(own.app.composeHash)}`, `0x${"ab".repeat(32)}`];
  const toldOf = (policyHistory: readonly HistoryEntry[] | undefined): Promise<string> =>
    told(input(manifestOf(), { provider, policyHistory }), "other versions");
  assert.match(await toldOf(undefined), /^the policy's history says which .*dstack auth history/);
  const nothing = [
    change("+", app, present),
    change("+", app, "(empty)"),
    change("+", app, "0x1234"),
    change("+", `0x${"01".repeat(20)}`, other),
  ];
  assert.match(await toldOf(nothing), /^none was allowed .* which begins at 2026-01-02T03:04:05Z$/);
  assert.match(await toldOf([]), /^the policy's history is empty/);
  assert.match(
    await warnings(input(manifestOf(), { provider, policyHistory: [] })),
    /other versions: the policy's history is empty/,
  );
  const history = [
    change("+", app.toUpperCase().replace("0X", "0x"), other),
    change("-", app, other),
    change("+", app, present),
  ];
  assert.match(await toldOf(history), new RegExp(`^1 allowed .*\\n${other} since 2026-01-02T03:04:05Z$`));
  assert.match(await warnings(input(manifestOf(), { provider, policyHistory: history })), /other versions: 1 allowed/);
  // Without lasting keys there is no lasting disk.
  assert.equal(await told(input(manifestOf(), { policyHistory: history }), "other versions"), "");
});

describe("what runs", () => {
  test("advice on the manifest is told: one disk key for all, a gate that is none, user_config as identity", async () => {
    const told = await warnings(
      input(
        manifestOf({
          no_instance_id: true,
          pre_launch_script: "cosign verify x || exit 1; cat /dstack/.user-config",
        }),
      ),
    );
    assert.match(told, /manifest: no_instance_id: all instances/);
    assert.match(told, /manifest: pre_launch_script: .*no gate/);
    assert.match(told, /manifest: user_config: .*not measured/);
    assert.doesNotMatch(await warnings(input(manifestOf())), /manifest:/);
  });

  test("a default counts for nothing where the environment may set its variable", async () => {
    const compose = `services: {a: {image: "\${I:-nginx@sha256:${"ab".repeat(32)}}", privileged: "\${P:-false}"}}\n`;
    const told = (allowed: string[]): Promise<string> =>
      warnings(input(manifestOf({ docker_compose_file: compose, allowed_envs: allowed })));
    assert.match(await told(["I"]), /image: a: whoever sets the variable I chooses the image/);
    assert.match(await told(["P"]), /power: a: privileged: the variable P decides/);
    assert.doesNotMatch(await told(["OTHER"]), /image:|power:/);
  });

  test("a compose file that docker compose would not run is no silence, and a later nothing hides no power", async () => {
    const compose = (file: string): string => manifestOf({ docker_compose_file: file });
    assert.match(
      await warnings(input(compose("services: {a: {image: x, privilegd: true}}\n"))),
      /docker-compose.yaml: docker compose would not run it: line 1: services.a.privilegd: unknown key/,
    );
    assert.match(
      await warnings(
        input(compose("services: {a: {image: x, privileged: true}}\n---\nservices: {a: {privileged: }}\n")),
      ),
      /power: a: privileged/,
    );
    assert.doesNotMatch(await warnings(input(compose("services: {a: {image: x}}\n"))), /would not run/);
  });

  test("an image without a digest is a warning (SECURITY 07)", async () => {
    assert.match(await warnings(input(manifestOf())), /image: web: nginx:latest is not pinned by digest/);
    const pinned = manifestOf({
      docker_compose_file: `services:\n  web:\n    image: nginx@sha256:${"ab".repeat(32)}\n`,
    });
    assert.equal(await warnings(input(pinned)), "");
    assert.match(await warnings(input(manifestOf({ docker_compose_file: "services: [" }))), /image: .*YAML/);
  });

  test("scripts are shown whole, with their hash (#551)", async () => {
    const script = "#!/bin/sh\necho ready\n";
    const shown = await told(
      input(manifestOf({ pre_launch_script: script, init_script: [script] })),
      "pre-launch script",
    );
    assert.equal(shown, `SHA-256 ${createHash("sha256").update(script).digest("hex")}\n${script}`);
    assert.equal(await told(input(manifestOf({ init_script: [script] })), "init script 1"), shown);
  });

  test("members that are not known and a manifest that cannot be read are warnings (NM #3415)", async () => {
    assert.match(
      await warnings(input(manifestOf({ surprise: true }))),
      /members that this version does not know: surprise/,
    );
    assert.match(await warnings(input("{")), /manifest: cannot be read/);
  });

  test("a development image is a warning", async () => {
    const metadata = {
      bios: "ovmf.fd",
      kernel: "bzImage",
      initrd: "initrd",
      cmdline: "a dstack.storage_encrypted=true dstack.storage_encrypted=off",
      version: "0.6.0",
      shared_ro: false,
      is_dev: true,
    };
    const shown = await warnings(
      input(manifestOf(), { osImage: { checks: [], ok: true, reason: "", hash: zero, metadata } }),
    );
    assert.match(shown, /OS image: a development image/);
    assert.match(shown, /disk: not encrypted/, "of a repeated option the last counts (#618)");
  });
});

describe("who can change it", () => {
  test("names that change what programs do are warnings (SECURITY 0d)", async () => {
    const value = input(manifestOf({ allowed_envs: ["GREETING", "LD_PRELOAD", "PATH"] }));
    assert.match(await warnings(value), /environment: LD_PRELOAD, PATH can change what programs do/);
    assert.match(await told(value, "environment"), /GREETING/);
    assert.match(await told(value, "launch token"), /the host can replace the whole environment/, "SECURITY 03");
    const required = input(
      manifestOf({
        manifest_version: "3",
        allowed_envs: ["GREETING"],
        requirements: { launch_token_hash: "ab".repeat(32) },
      }),
    );
    assert.match(await told(required, "launch token"), /^required, SHA-256 abab/);
  });

  test("an app id of its own is told from one that was chosen", async () => {
    assert.match(await told(input(manifestOf()), "app id"), /made from this very compose file/);
    assert.match(
      await told(input(manifestOf(), { app: { appId: appId(parseHex("77".repeat(20))) } }), "app id"),
      /not made from/,
    );
  });

  test("each key provider says who decides", async () => {
    const kms = { name: "kms", id: "30".repeat(40) };
    const meta = { ca_cert: "", k256_pubkey: "", is_dev: false, insecure_settings: [] };
    const cases: [AppFactsInput, string, RegExp][] = [
      [input(manifestOf()), "keys", /none are kept/],
      [input(manifestOf(), { provider: { name: "local-sgx", id: "ab" } }), "keys", /enclave ab on the same machine/],
      [input(manifestOf(), { provider: { name: "tpm", id: "" } }), "keys", /TPM/],
      [input(manifestOf(), { provider: kms }), "allow-list", /give its URL with --kms/],
      [input(manifestOf(), { provider: kms, kmsMeta: meta }), "allow-list", /auth server of the KMS's operator/],
      [
        input(manifestOf(), { provider: kms, kmsMeta: { ...meta, kms_contract_address: "0xabc", chain_id: 1 } }),
        "allow-list",
        /contract 0xabc on chain 1/,
      ],
      [
        input(manifestOf(), {
          provider: kms,
          kmsMeta: { ...meta, kms_contract_address: `0x${"0".repeat(40)}`, chain_id: 0 },
        }),
        "allow-list",
        /kept by an auth server/,
      ],
    ];
    for (const [value, name, expected] of cases) assert.match(await told(value, name), expected);
    assert.match(
      await warnings(input(manifestOf(), { provider: kms, kmsMeta: { ...meta, is_dev: true } })),
      /allow-list: none/,
    );
    assert.match(
      await warnings(input(manifestOf(), { provider: { name: "elsewhere", id: "" } })),
      /unknown provider: elsewhere/,
    );
    assert.match(await warnings(input(manifestOf(), { app: { keyProviderInfo: utf8("{") } })), /unknown provider/);
  });
});

test("nothing in a manifest, a URL or a reason moves the reader's cursor", async () => {
  const escape = "\u001b[2J\u001b[1;1Hverified";
  const sections = await appFacts(
    input(
      manifestOf({
        name: escape,
        docker_compose_file: `services:\n  ${JSON.stringify(escape)}:\n    image: ${JSON.stringify(escape)}\n`,
        pre_launch_script: `${escape}\r`,
        allowed_envs: ["A\u009b1m"],
      }),
    ),
  );
  const result: VerifyResult = {
    ok: false,
    verdict: { kind: "failed", reason: escape },
    kind: "app",
    what: escape,
    environment: "production",
    checks: [{ name: "x", result: "fail", reason: escape }],
    sections,
    appId: undefined,
    composeHash: undefined,
    tcbStatus: undefined,
    osImageHash: undefined,
  };
  assert.doesNotMatch(fullReportText(result), /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
});
