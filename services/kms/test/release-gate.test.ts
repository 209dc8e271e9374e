import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { hash48, parseHex, reportData, toHex } from "@dstack/bytes";
import {
  encodeKeyProviderInfo,
  mrConfigIdV3,
  parseQuote,
  replayRtmr3,
  tdReportOf,
  type Attestation,
  type QuoteClaims,
} from "@dstack/attest";
import { AuditLog, AuditLogError } from "@dstack/audit-log";
import { createLogger } from "@dstack/log";
import { mockPki, parseSeed, signMockQuote } from "@dstack/tee-simulator";
import { KmsError } from "../src/errors.ts";
import { noImageVerification, type OsImageVerifier } from "../src/image/os-image-verifier.ts";
import type { SentBootInfo, WebhookDecision } from "@dstack/governance";
import type { AuthApi } from "../src/release/auth-api.ts";
import { ReleaseGate, type ReleaseRequest } from "../src/release/release-gate.ts";

const log = createLogger({ name: "test", stream: { write: () => true } });
const clock = { time: 0, now: () => clock.time };
let folder: string;
let request: ReleaseRequest;
/** What the VM was launched with, bound by its quote. */
const LAUNCH = JSON.stringify({ version: 3, compose_hash: "c0".repeat(32), key_provider: "kms" });
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "kms-gate-"));
  const runtimeEvents = [
    ["app-id", "a1".repeat(20)],
    ["compose-hash", "c0".repeat(32)],
    ["instance-id", ""],
    ["boot-mr-done", ""],
    ["key-provider", toHex(encodeKeyProviderInfo({ name: "kms", id: "" }))],
  ].map(([event, payload]) => ({ event: event!, payload: parseHex(payload!) }));
  const register = (byte: number) => hash48(new Uint8Array(48).fill(byte));
  const td = {
    mrTd: register(9),
    rtmr: [register(0), register(1), register(2), replayRtmr3(runtimeEvents)] as const,
    mrConfigId: mrConfigIdV3(LAUNCH),
  };
  const quote = signMockQuote(mockPki(parseSeed("01".repeat(32))), td, reportData(new Uint8Array(64)));
  const attestation: Attestation = {
    platform: { kind: "tdx", quote, eventLog: [] },
    runtimeEvents,
    reportData: reportData(new Uint8Array(64)),
    config: `{"os_image_hash":"${"05".repeat(32)}"}`,
  };
  const claims: Pick<QuoteClaims, "status" | "advisoryIds" | "ppid" | "trustAnchor"> = {
    status: "OutOfDate",
    advisoryIds: ["INTEL-SA-1"],
    ppid: new Uint8Array(16),
    trustAnchor: "external",
  };
  request = {
    action: "app-key",
    attestation,
    verified: { quote: claims as QuoteClaims, report: tdReportOf(parseQuote(quote)) },
    vmConfig: "",
    boottime: false,
    requestId: "r",
    remoteAddress: "1.2.3.4",
    signal: new AbortController().signal,
  };
});
after(() => rm(folder, { recursive: true }));

interface Fixture {
  readonly gate: ReleaseGate;
  readonly asked: SentBootInfo[];
  readonly audit: AuditLog;
  readonly lines: () => Promise<Record<string, unknown>[]>;
}

let count = 0;
async function fixture(
  decision: WebhookDecision,
  options: { readonly images?: OsImageVerifier; readonly refuseAnyGateway?: boolean } = {},
): Promise<Fixture> {
  const path = join(folder, `${count++}.jsonl`);
  const audit = await AuditLog.open({ path, clock, log });
  const asked: SentBootInfo[] = [];
  const auth: AuthApi = {
    isDev: false,
    info: () => Promise.reject(new Error("unused")),
    bootAuth: (_kind, info) => {
      asked.push(info);
      return Promise.resolve(decision);
    },
  };
  const gate = new ReleaseGate({
    auth,
    audit,
    clock,
    log,
    images: options.images ?? noImageVerification,
    refuseAnyGateway: options.refuseAnyGateway ?? false,
  });
  return {
    gate,
    asked,
    audit,
    lines: async () =>
      (await readFile(path, "utf8"))
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

const ALLOW: WebhookDecision = { kind: "allowed", gatewayAppId: "gw" };
const DENY: WebhookDecision = { kind: "denied", reason: "no", rule: undefined, field: undefined };

test("tells the webhook the union of all released forms, from verified evidence", async () => {
  const { gate, asked, audit } = await fixture(ALLOW);
  assert.equal((await gate.decide(request)).kind, "released");
  const [info] = asked;
  assert.deepEqual(Object.keys(info!), [
    "teeVariant",
    "attestationMode",
    "mrtd",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rtmr3",
    "mrAggregated",
    "osImageHash",
    "mrSystem",
    "appId",
    "composeHash",
    "instanceId",
    "deviceId",
    "keyProviderInfo",
    "tcbStatus",
    "advisoryIds",
  ]);
  assert.deepEqual(
    [
      info!["appId"],
      info!["instanceId"],
      info!["osImageHash"],
      info!["keyProviderInfo"],
      info!["tcbStatus"],
      info!["advisoryIds"],
    ],
    [
      "a1".repeat(20),
      "",
      "05".repeat(32),
      toHex(encodeKeyProviderInfo({ name: "kms", id: "" })),
      "OutOfDate",
      ["INTEL-SA-1"],
    ],
  );
  assert.equal(info!["deviceId"], "374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb");
  await audit.close();
});

test("boot-time mode shows the registers of boot and no key provider", async () => {
  const { gate, asked, audit } = await fixture(ALLOW);
  await gate.decide(request);
  await gate.decide({ ...request, boottime: true });
  assert.notEqual(asked[0]!["mrAggregated"], asked[1]!["mrAggregated"]);
  assert.equal(asked[1]!["keyProviderInfo"], "");
  await audit.close();
});

test("the configuration of the request counts before the one in the evidence", async () => {
  const { gate, asked, audit } = await fixture(ALLOW);
  await gate.decide({ ...request, vmConfig: `{"os_image_hash":"${"06".repeat(32)}"}` });
  assert.equal(asked[0]!["osImageHash"], "06".repeat(32));
  await audit.close();
});

test("a production folder takes no wildcard for the gateway (#607)", async () => {
  for (const gatewayAppId of ["any", "ANY", " any "]) {
    const { gate, audit } = await fixture({ kind: "allowed", gatewayAppId }, { refuseAnyGateway: true });
    const decision = await gate.decide(request);
    assert.deepEqual([decision.kind, decision.kind === "refused" && decision.rule], ["refused", "gatewayAppId"]);
    await audit.close();
  }
  const { gate, audit } = await fixture({ kind: "allowed", gatewayAppId: "any" });
  assert.equal((await gate.decide(request)).kind, "released");
  await audit.close();
});

test("an allow is recorded before it is returned, and without the record there is none", async () => {
  const { gate, audit, lines } = await fixture(ALLOW);
  await gate.decide(request);
  assert.deepEqual(
    (await lines()).map((line) => [line["outcome"], line["appId"]]),
    [["released", "a1".repeat(20)]],
  );
  await audit.close();
  await assert.rejects(
    gate.decide(request),
    (error: unknown) => error instanceof AuditLogError && error.code === "audit-unwritable",
  );
});

test("an image that does not measure is refused after the webhook allowed it, with the register", async () => {
  const images: OsImageVerifier = {
    forget: () => undefined,
    verify: () =>
      Promise.reject(new KmsError("measurement-mismatch", "MRs do not match", { facts: { register: "RTMR1" } })),
  };
  const { gate, audit, lines } = await fixture(ALLOW, { images });
  const decision = await gate.decide(request);
  assert.deepEqual([decision.kind, decision.kind === "refused" && decision.field], ["refused", "RTMR1"]);
  assert.deepEqual(
    (await lines()).map((line) => line["outcome"]),
    ["refused"],
  );
  await audit.close();
});

test("a flood of refusals is counted, not written, so that nobody fills the disk or hides in it", async () => {
  const { gate, audit, lines } = await fixture(DENY);
  const from = (remoteAddress: string, count: number): Promise<unknown> =>
    Promise.all(Array.from({ length: count }, () => gate.decide({ ...request, remoteAddress })));
  await from("1.1.1.1", 100);
  assert.equal((await lines()).length, 40, "one address leaves room for others");
  await from("2.2.2.2", 50);
  await from("3.3.3.3", 50);
  await from("4.4.4.4", 50);
  assert.equal((await lines()).length, 120);
  clock.time += 60_000;
  await from("1.1.1.1", 1);
  const suppressed = (await lines()).map((line) => Number(line["suppressed"] ?? 0));
  assert.deepEqual([suppressed.length, suppressed.reduce((sum, count) => sum + count)], [121, 130]);
  clock.time += 60_000;
  await from("1.1.1.1", 1);
  assert.ok(!("suppressed" in (await lines()).at(-1)!));
  await audit.close();
});

test("a refused request for the root keys leaves a line under any noise, of others or of its own kind", async () => {
  const { gate, audit, lines } = await fixture(DENY);
  clock.time += 60_000;
  const ask = (action: "app-key" | "kms-key", remoteAddress: string, count: number): Promise<unknown> =>
    Promise.all(Array.from({ length: count }, () => gate.decide({ ...request, action, remoteAddress })));
  for (let i = 1; i < 6; i++) await ask("app-key", `1.1.1.${i}`, 50);
  await ask("kms-key", "9.9.9.9", 1);
  const rootKeys = async (): Promise<unknown[]> =>
    (await lines()).filter(({ action }) => action === "kms-key").map((line) => line["remoteAddress"]);
  assert.deepEqual(await rootKeys(), ["9.9.9.9"]);
  assert.equal((await lines()).length, 121);

  for (let i = 0; i < 30; i++) await ask("kms-key", `2.2.2.${i}`, 50);
  await ask("kms-key", "8.8.8.8", 3);
  const seen = await rootKeys();
  assert.equal(seen.filter((address) => address === "8.8.8.8").length, 1);
  assert.equal(new Set(seen).size, 32, "each address left one at least");
  assert.ok(seen.length <= 1_032, "and the disk is not theirs to fill");

  // The requests without evidence have lines of their own: they do not use up those of the ones with it.
  for (let i = 0; i < 30; i++)
    for (let n = 0; n < 50; n++)
      await gate.recordRefusal({ ...refusedCall, action: "GetKmsKey", remoteAddress: `2001:db8:0:${i}::${n}` });
  clock.time += 60_000;
  await ask("kms-key", "7.7.7.7", 1);
  const counted = (await lines())
    .filter(({ action }) => action === "kms-key")
    .reduce((sum, line) => sum + 1 + Number(line["suppressed"] ?? 0), 0);
  assert.equal(counted, 1 + 30 * 50 + 3 + 1, "what has no line is counted in one");
  await audit.close();
});

const refusedCall = { reason: "no evidence", rule: "evidence", field: "client certificate", requestId: "r" };

test("a request that nobody could decide on is on record as failed, with what was missing", async () => {
  const auth: AuthApi = {
    isDev: false,
    info: () => Promise.reject(new Error("unused")),
    bootAuth: () => Promise.reject(new KmsError("auth-unreachable", "auth api could not be asked")),
  };
  const path = join(folder, `${count++}.jsonl`);
  const audit = await AuditLog.open({ path, clock, log });
  const gate = new ReleaseGate({ auth, audit, clock, log, images: noImageVerification, refuseAnyGateway: false });
  await assert.rejects(
    gate.decide(request),
    (error: unknown) => error instanceof KmsError && error.code === "auth-unreachable",
  );
  await audit.close();
  const [line] = (await readFile(path, "utf8"))
    .trimEnd()
    .split("\n")
    .map((text) => JSON.parse(text) as Record<string, unknown>);
  assert.deepEqual(
    [line?.["outcome"], line?.["rule"], line?.["field"], line?.["reason"]],
    ["failed", "auth-unreachable", "auth api", "auth api could not be asked"],
  );
});

test("each refusal names its rule and field to the caller and in the audit line", async () => {
  const image: OsImageVerifier = {
    forget: () => undefined,
    verify: () => Promise.reject(new KmsError("image-mismatch", "image bundle is refused")),
  };
  const cases: [
    Parameters<typeof fixture>[0],
    Parameters<typeof fixture>[1],
    Partial<ReleaseRequest>,
    string,
    string,
  ][] = [
    [DENY, {}, {}, "auth api", "isAllowed"],
    [
      { ...DENY, rule: "apps.x.composeHashes", field: "composeHash" } as WebhookDecision,
      {},
      {},
      "apps.x.composeHashes",
      "composeHash",
    ],
    [ALLOW, { images: image }, {}, "os-image", "osImageHash"],
    [ALLOW, {}, { vmConfig: "{" }, "vm-config-malformed", "vm_config"],
    [ALLOW, {}, { vmConfig: " ".repeat(300_000) }, "vm-config", "vm_config"],
    [{ kind: "allowed", gatewayAppId: "any" }, { refuseAnyGateway: true }, {}, "gatewayAppId", "gatewayAppId"],
    [
      ALLOW,
      {},
      { attestation: { ...request.attestation, runtimeEvents: [{ event: "app-id", payload: new Uint8Array(19) }] } },
      "event-invalid",
      "events",
    ],
  ];
  for (const [decision, options, change, rule, field] of cases) {
    const { gate, audit, lines } = await fixture(decision, options);
    const refused = await gate.decide({ ...request, ...change });
    assert.ok(refused.kind === "refused");
    // An auth server that names no rule is told word for word; the records say who decided.
    if (rule === "auth api") assert.equal(refused.reason, "Boot denied: no");
    else assert.ok(refused.reason.endsWith(` (rule ${refused.rule}, field ${field})`), refused.reason);
    assert.equal(refused.rule, rule);
    const [line] = await lines();
    assert.deepEqual(
      [line?.["outcome"], line?.["reason"], line?.["rule"], line?.["field"]],
      ["refused", refused.reason, refused.rule, field],
    );
    await audit.close();
  }
});

test("a refusal that cannot be recorded is still that refusal", async () => {
  const { gate, audit } = await fixture(DENY);
  await audit.close();
  assert.deepEqual(await gate.decide(request), {
    kind: "refused",
    reason: "Boot denied: no",
    rule: "auth api",
    field: "isAllowed",
  });
});

test("refuses a VM configuration of the request with another launch document than the quote is bound to", async () => {
  const { gate, asked, audit } = await fixture(ALLOW);
  const configOf = (document?: string): string =>
    JSON.stringify({ os_image_hash: "05".repeat(32), ...(document === undefined ? {} : { mr_config: document }) });
  for (const vmConfig of ["", configOf(), configOf(LAUNCH)])
    assert.equal((await gate.decide({ ...request, vmConfig })).kind, "released", vmConfig);
  const before = asked.length;
  for (const document of [
    `${LAUNCH} `,
    JSON.stringify({ version: 3, compose_hash: "c1".repeat(32), key_provider: "kms" }),
  ]) {
    const decision = await gate.decide({ ...request, vmConfig: configOf(document) });
    assert.ok(decision.kind === "refused");
    assert.deepEqual([decision.rule, decision.field], ["mr-config-id", "vm_config"]);
    assert.match(decision.reason, /MRCONFIGID .* does not hold the document's hash/);
  }
  assert.equal(asked.length, before, "and nobody is asked");
  await audit.close();
});
