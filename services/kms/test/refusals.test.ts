import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { BootInfo } from "@dstack/governance";
import { reportData } from "@dstack/bytes";
import type { HttpExchange } from "@dstack/rpc";
import { raiseSites } from "../../../libs/errors/test/refusals/raise-sites.ts";
import { assertNextSteps, assertWords, walkRefusals } from "../../../libs/errors/test/refusals/walk.ts";
import { backupRoute } from "../src/backup/backup-routes.ts";
import type { KmsConfig } from "../src/config/kms-config.ts";
import { KMS_ERRORS, KMS_RULES } from "../src/errors.ts";
import { osImageVerifier } from "../src/image/os-image-verifier.ts";
import { issueDevelopmentCertificate } from "../src/issue-development-certificate.ts";
import { markReleasedFolder } from "../src/mark-released-folder.ts";
import { bootstrap } from "../src/keys/bootstrap.ts";
import { checkDomain } from "../src/keys/domain.ts";
import { openKeyStore, settleKeyFolder } from "../src/keys/key-store.ts";
import { fetchRootKeys, type FetchOptions } from "../src/onboard/fetch-root-keys.ts";
import { nextStep } from "../src/release/next-step.ts";
import { Turnstile } from "../src/release/turnstile.ts";
import { guestAgent } from "../src/self/guest-agent.ts";
import { selfAuthorization } from "../src/self/self-authorization.ts";
import { silent } from "./setup-service.ts";

const NOW = 1_764_000_000;
const never = new AbortController().signal;
let base: string;
before(async () => {
  base = await mkdtemp(join(tmpdir(), "kms-refusals-"));
});
after(() => rm(base, { recursive: true }));

const TESTS = "services/kms/test";

walkRefusals({
  folder: "services/kms",
  errors: "KmsError",
  table: KMS_ERRORS,
  mapped: { "auth-unreachable": "release/auth-api.ts", "auth-answer-unproven": "release/auth-api.ts" },
  cases: {
    "config-invalid": { produce: () => checkDomain("kms.-example"), says: /domain.*"-example", expected/ },
    "not-bootstrapped": {
      produce: () => openKeyStore({ folder: base, domain: "kms.example", now: NOW }),
      says: /kms-refusals-\w+ has no complete set of keys \(empty\)/,
    },
    "already-bootstrapped": { heldBy: `${TESTS}/key-folder.test.ts`, words: '"already-bootstrapped"' },
    "key-folder-partial": {
      produce: async () => {
        const folder = await mkdtemp(join(base, "partial-"));
        await writeFile(join(folder, "root-ca.key"), "x");
        await settleKeyFolder(folder, silent);
      },
      says: /partial-\w+ holds root-ca\.key but lacks .*root-k256\.key.*restore the missing files/,
    },
    "key-folder-invalid": {
      produce: async () => {
        const folder = await mkdtemp(join(base, "invalid-"));
        await bootstrap({ folder, domain: "kms.example", now: NOW, attest: undefined });
        await writeFile(join(folder, "root-ca.crt"), "no certificate");
        await openKeyStore({ folder, domain: "", now: NOW });
      },
      says: /root-ca\.crt in the key folder cannot be used; restore it/,
    },
    "agent-unavailable": {
      produce: () => guestAgent(`unix:${base}/none.sock`).attest(reportData(new Uint8Array(64))),
      says: /guest agent at unix:.*none\.sock: Attest failed/,
    },
    "self-evidence-invalid": { heldBy: `${TESTS}/self-attestation.int.test.ts`, words: '"self-evidence-invalid"' },
    "self-unauthorized": {
      produce: () =>
        selfAuthorization({
          self: { bootInfo: () => Promise.resolve({ json: {} }) } as never,
          auth: {
            isDev: false,
            info: () => Promise.reject(new Error("unused")),
            bootAuth: () =>
              Promise.resolve({
                kind: "denied",
                reason: "no such KMS",
                rule: "kms.mrAggregated",
                field: "mrAggregated",
              }),
          },
          clock: Date,
        }).require(),
      says: /KMS is not allowed: no such KMS \(rule kms\.mrAggregated, field mrAggregated\)/,
    },
    "source-refused": {
      produce: () => fetchRootKeys({ sourceUrl: "https://operator:hunter2@kms.example" } as FetchOptions),
      says: /^source_url: expected https:\/\/HOST:PORT of the source KMS, got one with a user name$/,
    },
    "auth-unreachable": { heldBy: `${TESTS}/auth-api.int.test.ts`, words: '"auth-unreachable"' },
    "auth-answer-invalid": { heldBy: `${TESTS}/auth-api.int.test.ts`, words: '"auth-answer-invalid"' },
    "auth-answer-unproven": { heldBy: `${TESTS}/auth-api.int.test.ts`, words: '"auth-answer-unproven"' },
    "image-unavailable": { heldBy: `${TESTS}/os-image-verifier.test.ts`, words: "image-unavailable" },
    "image-mismatch": {
      produce: () =>
        osImageVerifier({ imageOf: () => Promise.reject(new Error("unused")) } as never).verify("{}", {} as never, []),
      says: /os_image_hash/,
    },
    "measurement-mismatch": {
      heldBy: `${TESTS}/os-image-verifier.test.ts`,
      words: "measurement-mismatch: MRs do not match: ${register.toUpperCase()} does not match",
    },
    "backup-refused": { heldBy: `${TESTS}/backup.test.ts`, words: '"backup-refused"' },
    "restore-refused": { heldBy: `${TESTS}/restore.test.ts`, words: '"restore-refused"' },
    overloaded: {
      produce: async () => {
        const turnstile = new Turnstile({ places: 1, maxWaiting: 0 });
        void turnstile.through(() => new Promise(() => undefined), never);
        await turnstile.through(() => Promise.resolve(), never);
      },
      says: /^0 requests wait for the auth server already; try again$/,
    },
    "not-development": {
      produce: async () => {
        const keyFolder = await mkdtemp(join(base, "production-"));
        await writeFile(join(keyFolder, "environment"), "production\n");
        const files = { publicKeyFile: "none", outFile: "none" };
        await issueDevelopmentCertificate({ keyFolder, appId: "00", domains: ["gw"], ...files, now: NOW });
      },
      says: /production-\w+ is marked production; .*development key folder only/,
    },
    stopped: { heldBy: `${TESTS}/setup-server.int.test.ts`, words: '"stopped"' },
    usage: {
      produce: () => markReleasedFolder({} as KmsConfig, "staging"),
      says: /mark-key-folder: expected production or development, got "staging"/,
    },
  },
  words: {
    "the restored keys are not those": "secret",
    "random source gave no valid": "secret",
    "Invalid keys: the root key does not belong": "secret",
    "restore runs inside an attested KMS alone": "yes or no",
    "the keys are restored already": "yes or no",
    "there are no keys yet": "yes or no",
    "no operators are configured": "nothing came",
    "--domain: expected at least one name": "nothing came",
    "Source KMS certificate does not contain attestation": "nothing came",
  },
});

test("each answer of the RPC methods that refuses shows a value, or is listed", () => {
  assertWords(raiseSites("services/kms", "RpcError"), {
    "No attestation provided": "nothing came",
    "Invalid token": "secret",
    "app_id must be 20 bytes": "words of the wire",
    "the evidence is over other report data": "stands in the text",
  });
});

/** Where each rule is produced for real, and what is asserted there. */
const RULES: Readonly<Record<string, readonly [file: string, words: string]>> = {
  evidence: ["get-app-key.int.test.ts", "No attestation provided"],
  "self-authorization": ["onboard.int.test.ts", "KMS self authorization failed"],
  "insecure-settings": ["backup.test.ts", "core.x = true"],
  backup: ["refusals.test.ts", "a backup without operators is refused"],
  "own-name": ["sign-cert.int.test.ts", "rule own-name"],
  "vm-config": ["release-gate.test.ts", '"vm-config", "vm_config"'],
  "mr-config-id": ["release-gate.test.ts", '"mr-config-id", "vm_config"'],
  gatewayAppId: ["release-gate.test.ts", '"gatewayAppId", "gatewayAppId"'],
  "os-image": ["release-gate.test.ts", '"os-image", "osImageHash"'],
  "auth api": ["release-gate.test.ts", '"auth api", "isAllowed"'],
};

test("every rule that denies keys, certificates or a backup has its test, and its next step", async () => {
  assert.deepEqual(Object.keys(RULES).toSorted(), Object.keys(KMS_RULES).toSorted());
  assertNextSteps(KMS_RULES);
  for (const [rule, [file, words]] of Object.entries(RULES))
    assert.ok((await readFile(join(import.meta.dirname, file), "utf8")).includes(words), `${rule}: ${file}`);
});

test("a backup without operators is refused with rule and field, and what to set", async () => {
  let body = "";
  const response = { writeHead: () => response, end: (bytes: Uint8Array) => (body = Buffer.from(bytes).toString()) };
  const route = backupRoute({
    keys: { rootCa: {}, tempCa: {} },
    settingsAgainstHandOver: [],
    audit: { append: () => Promise.resolve() },
    clock: Date,
    log: silent,
    config: { backup: undefined },
  } as unknown as Parameters<typeof backupRoute>[0]);
  const request = { socket: { remoteAddress: "192.0.2.1" } };
  await route.handle({ request, response, requestId: "r" } as unknown as HttpExchange);
  assert.match(body, /set core\.backup\.operators and .* \(rule backup, field core\.backup\.operators\)/);
});

const BOOT: BootInfo = {
  mrAggregated: "11".repeat(32),
  osImageHash: "22".repeat(32),
  appId: "33".repeat(20),
  composeHash: "44".repeat(32),
  instanceId: "",
  deviceId: "66".repeat(32),
  tcbStatus: "UpToDate",
  advisoryIds: [],
  mrSystem: "",
  teeVariant: "",
};

test("the log tells the operator the command that changes a denial, and the step of our rule where there is none", () => {
  assert.equal(
    nextStep("app", { rule: "apps", field: "composeHash" }, BOOT),
    `\`dstack auth allow compose 0x${BOOT.composeHash} --app 0x${BOOT.appId}\``,
  );
  assert.equal(
    nextStep("kms", { rule: "kms.mrAggregated", field: "mrAggregated" }, BOOT),
    `\`dstack auth allow kms 0x${BOOT.mrAggregated}\``,
  );
  assert.equal(nextStep("app", { rule: "their own", field: "x" }, BOOT), KMS_RULES["auth api"].next);
  assert.equal(nextStep("app", { rule: "os-image", field: "RTMR1" }, undefined), KMS_RULES["os-image"].next);
  assert.equal(nextStep("app", { rule: "event-missing", field: "events" }, undefined), KMS_RULES.evidence.next);
});
