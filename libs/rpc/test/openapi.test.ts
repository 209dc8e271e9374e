import assert from "node:assert/strict";
import { test } from "node:test";
import { kms } from "@dstack/proto";
import { openApiDocument, route } from "@dstack/rpc";

interface Operation {
  readonly post: {
    readonly "x-dstack-auth": string;
    readonly description: string;
    readonly requestBody?: unknown;
    readonly responses: Record<string, { content: Record<string, { schema: unknown }> }>;
  };
}

const methods = kms.KMS.method;
const handle = (): Promise<never> => Promise.reject(new Error("not called"));
const document = openApiDocument({
  title: "t",
  version: "1",
  services: [
    {
      path: "/prpc/",
      rules: { none: "anybody", attested: "evidence" },
      service: {
        routes: [
          route(methods.getMeta, { auth: "none", handle }),
          route(methods.signCert, { auth: "attested", bodyLimitBytes: 77, handle }),
        ],
      },
    },
  ],
  routes: [
    { path: "/health", summary: "alive", answers: ["text/plain"], otherwise: { 503: "not alive" } },
    { path: "/backup", summary: "b", answers: ["application/json"], verb: "post" },
  ],
});
const paths = document["paths"] as Record<string, Operation>;
const schemas = (
  document["components"] as {
    schemas: Record<string, { properties: Record<string, { type?: unknown; anyOf?: unknown; items?: unknown }> }>;
  }
).schemas;

test("describes every row with its rule, its limit and the JSON form of its messages", () => {
  assert.deepEqual(Object.keys(paths), ["/prpc/GetMeta", "/prpc/SignCert", "/health", "/backup"]);
  const { post } = paths["/prpc/SignCert"]!;
  assert.equal(post["x-dstack-auth"], "attested");
  assert.match(post.description, /Caller: evidence\. At most 77 bytes/);
  assert.deepEqual(post.responses["200"]?.content["application/json"]?.schema, {
    $ref: "#/components/schemas/SignCertResponse",
  });
  assert.equal(paths["/prpc/GetMeta"]?.post.requestBody, undefined, "an empty request has no body");
  assert.deepEqual(Object.keys(post.responses["400"]?.content ?? {}), ["application/json", "application/octet-stream"]);
  const { get } = paths["/prpc/SignCert"] as unknown as {
    get: { parameters: { name: string }[]; responses: typeof post.responses };
  };
  assert.deepEqual(
    [get.parameters.map(({ name }) => name), Object.keys(get.responses["200"]?.content ?? {})],
    [["api_version", "csr", "signature", "vm_config"], ["application/json"]],
  );
  assert.deepEqual(
    [
      Object.keys(paths["/backup"] ?? {}),
      (paths["/health"] as unknown as { get: { responses: object } }).get.responses,
    ],
    [["post"], { 200: { description: "OK", content: { "text/plain": {} } }, 503: { description: "not alive" } }],
  );
});

test("bytes are hex, optional fields and messages may be null, and references lead somewhere", () => {
  assert.equal(schemas["SignCertRequest"]?.properties["csr"]?.type, "string");
  assert.deepEqual(schemas["GetMetaResponse"]?.properties["chain_id"]?.type, ["integer", "null"]);
  assert.deepEqual(schemas["GetMetaResponse"]?.properties["bootstrap_info"]?.anyOf, [
    { $ref: "#/components/schemas/BootstrapResponse" },
    { type: "null" },
  ]);
  const references = JSON.stringify(document).match(/#\/components\/schemas\/\w+/g) ?? [];
  for (const name of references) assert.ok((name.split("/").at(-1) ?? "") in schemas, name);
});
