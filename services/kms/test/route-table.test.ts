import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogger } from "@dstack/log";
import { kms } from "@dstack/proto";
import { dispatch, type Route, type RpcCall, type RpcService } from "@dstack/rpc";
import { adminService } from "../src/http/admin.ts";
import { RULES } from "../src/http/api-description.ts";
import { kmsService } from "../src/kms-service.ts";
import { onboardService } from "../src/onboard/onboard-service.ts";

const log = createLogger({ name: "test", level: "silent" });
/** Any use of a part fails: the tables are looked at, not called. */
const none = new Proxy({}, { get: (_target, name) => assert.fail(`uses ${String(name)}`) }) as never;
const options = {
  keys: none,
  gate: none,
  auth: none,
  evidence: {} as never,
  caches: none,
  self: none,
  selfAuthorization: none,
  settingsAgainstHandOver: [],
  config: { limits: {}, olderForm: true, ownNames: [], adminTokenHash: "" },
  status: none,
  clock: Date,
  log,
};

interface Table {
  readonly service: RpcService<never, never>;
  readonly descriptor: { readonly method: Readonly<Record<string, { readonly name: string }>> };
  readonly rules: Readonly<Record<string, string>>;
  readonly prefix: string;
}
const TABLES: readonly Table[] = [
  {
    service: kmsService(options) as unknown as RpcService<never, never>,
    descriptor: kms.KMS,
    prefix: "KMS.",
    rules: {
      GetAppKey: "attested",
      GetKmsKey: "attested",
      GetAppEnvEncryptPubKey: "none",
      GetMeta: "none",
      GetTempCaCert: "none",
      SignCert: "none",
      ClearImageCache: "none",
    },
  },
  {
    service: adminService({ caches: none, log }) as unknown as RpcService<never, never>,
    descriptor: kms.Admin,
    prefix: "Admin.",
    rules: { ClearImageCache: "admin" },
  },
  {
    service: onboardService({
      ...options,
      audit: none,
      folder: "",
      siteName: "",
      attestRoots: false,
      legacySources: [],
      finish: none,
    }) as unknown as RpcService<never, never>,
    descriptor: kms.Onboard,
    prefix: "Onboard.",
    rules: { Bootstrap: "set-up", Onboard: "set-up", GetAttestationInfo: "set-up", Finish: "set-up" },
  },
];

test("each service has one row for each of its methods, with the rule that it must have (#561)", () => {
  for (const { service, descriptor, rules, prefix } of TABLES) {
    const rows: readonly Route<never>[] = service.routes;
    assert.deepEqual(
      rows.map(({ method }) => method).toSorted(),
      Object.values(descriptor.method)
        .map(({ name }) => name)
        .toSorted(),
    );
    assert.deepEqual(Object.fromEntries(rows.map(({ method, auth }) => [method, auth])), rules);
    for (const { auth, bodyLimitBytes } of rows) assert.ok(auth in RULES && bodyLimitBytes <= 10 * 1024 * 1024);
    assert.deepEqual(service.prefixes, [prefix]);
  }
});

test("a method of one service is unknown to the others, in JSON and in protobuf", async () => {
  const call = (method: string): RpcCall => ({
    method,
    requestId: "r",
    peerCertificates: [],
    remoteAddress: undefined,
    headers: {},
    query: new URLSearchParams(),
    signal: new AbortController().signal,
  });
  for (const { service, rules } of TABLES) {
    for (const other of TABLES.flatMap((table) => Object.keys(table.rules)).filter(
      (method) => rules[method] === undefined,
    )) {
      for (const json of [true, false]) {
        const { status, body } = await dispatch(
          service,
          {
            name: other,
            verb: "POST",
            query: new URLSearchParams(json ? "json" : ""),
            contentType: undefined,
            body: new Uint8Array(),
          },
          call(other),
        );
        assert.equal(status, 400);
        assert.ok(Buffer.from(body).toString().includes(`Service not found: ${other}`));
      }
    }
  }
});
