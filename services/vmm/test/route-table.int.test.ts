import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { describe, test } from "node:test";
import { createLogger } from "@dstack/log";
import { guestApi, vmm } from "@dstack/proto";
import { dispatch, mount, startHttpServer, type HttpServer } from "@dstack/rpc";
import { guestProxy } from "../src/api/guest-proxy.ts";
import { managementGuard, type ManagementService } from "../src/api/guard.ts";
import { httpRoutes } from "../src/api/http-routes.ts";
import { vmmService } from "../src/api/vmm-service.ts";
import { vmmConfigSchema } from "../src/config/config-schema.ts";
import { checkVmmConfig } from "../src/config/vmm-config.ts";

const log = createLogger({ name: "test", level: "silent" });
/** Any use of a part fails: the tables are walked, not called. */
const none = new Proxy({}, { get: (_target, name) => assert.fail(`uses ${String(name)}`) }) as never;
const config = checkVmmConfig(vmmConfigSchema.parse({ auth: { enabled: true, tokens: ["secret"] } }), "/tmp");
const service = vmmService({ fleet: none, supervisor: none, config, log, clock: Date, node: none });
const guest = guestProxy(none, log);
const routes = httpRoutes({ fleet: none, config, consoleFolder: "/nonexistent", statusJson: none, metricsText: none });

const TABLES = [
  {
    path: "/prpc/",
    service,
    methods: vmm.Vmm.method,
    prefixes: ["Vmm.", "Teepod."],
    reads: [
      "GetAppEnvEncryptPubKey",
      "GetComposeHash",
      "GetInfo",
      "GetMeta",
      "ListGpus",
      "ListImages",
      "ListRegistryImages",
      "Status",
      "SvList",
      "Version",
    ],
  },
  {
    path: "/guest/",
    service: guest,
    methods: guestApi.ProxiedGuestApi.method,
    prefixes: ["ProxiedGuestApi.", "GuestApi."],
    reads: ["Info", "ListContainers", "NetworkInfo", "SysInfo"],
  },
] as const;

const rulesOf = (table: ManagementService, rule: string): string[] =>
  table.routes
    .filter(({ auth }) => auth === rule)
    .map(({ method }) => method)
    .toSorted();

test("each method has one row, and only those that look are readable by GET", () => {
  for (const { service, methods, reads } of TABLES) {
    const all = Object.values(methods).map(({ name }) => name);
    assert.deepEqual(service.routes.map(({ method }) => method).toSorted(), all.toSorted());
    assert.deepEqual(rulesOf(service, "reads"), [...reads]);
    assert.deepEqual(rulesOf(service, "changes"), all.filter((name) => !reads.includes(name as never)).toSorted());
  }
});

test("a change asked for by GET is refused before its handler, whatever prefix its name has", async () => {
  for (const { service, prefixes } of TABLES) {
    for (const method of rulesOf(service, "changes")) {
      for (const prefix of ["", ...prefixes]) {
        const query = new URLSearchParams({ id: "x" });
        const call = {
          method,
          requestId: "r",
          peerCertificates: [],
          remoteAddress: undefined,
          headers: {},
          query,
          signal: new AbortController().signal,
        };
        const request = { name: prefix + method, query, contentType: undefined, body: new Uint8Array() };
        const { status, body } = await dispatch(service, { ...request, verb: "GET" }, call);
        assert.equal(status, 400, method);
        assert.match(Buffer.from(body).toString(), new RegExp(`${method} changes something and must be sent as POST`));
      }
    }
  }
});

describe("a listener that asks for a token", () => {
  const serving = async (work: (server: HttpServer) => Promise<void>): Promise<void> => {
    const server = await startHttpServer({
      listen: { host: "127.0.0.1", port: 0 },
      mounts: TABLES.map(({ path, service }) => mount(path, service)),
      routes,
      guard: managementGuard({
        auth: config.auth,
        listen: config.listen,
        openToThisHost: routes.filter(({ openTo }) => openTo === "this-host").map(({ path }) => path),
      }),
      log,
    });
    try {
      await work(server);
    } finally {
      await server.close();
    }
  };
  const statusOf = async (
    { port }: HttpServer,
    method: string,
    path: string,
    headers: Record<string, string> = {},
  ): Promise<number> => {
    const outgoing = request({ host: "127.0.0.1", port, method, path, headers, agent: false });
    outgoing.end();
    const [response] = (await once(outgoing, "response")) as [{ statusCode: number; resume(): void }];
    response.resume();
    return response.statusCode;
  };

  test("answers 401 on every row without credentials, by GET and by POST, and uses no part", () =>
    serving(async (server) => {
      for (const { path, service } of TABLES) {
        for (const { method } of service.routes) {
          for (const verb of ["GET", "POST", "PUT", "DELETE"])
            assert.equal(await statusOf(server, verb, `${path}${method}?json`), 401, `${verb} ${path}${method}`);
          assert.equal(await statusOf(server, "POST", `${path}${method}?token=secret`), 401, method);
        }
      }
      for (const { verbs, path, openTo } of routes.filter((row) => row.openTo === "management"))
        for (const verb of verbs) assert.equal(await statusOf(server, verb, path), 401, `${openTo} ${verb} ${path}`);
    }));

  test("lets this host alone read image bundles without credentials", () =>
    serving(async (server) => {
      const open = routes.filter((row) => row.openTo === "this-host").map(({ path }) => path);
      assert.deepEqual(open, ["/os-images/"]);
      // Empty segments count for nothing, at the guard as at the routes.
      for (const way of ["/os-images/nothing", "//os-images/nothing", "/os-images//nothing"])
        assert.equal(await statusOf(server, "GET", way), 404, way);
      for (const way of [
        "/os-images/../vm",
        "/os-images/%2e%2e/vm",
        "/os-images/..//vm",
        "//vm",
        "//os-images/../vm",
        "/OS-IMAGES/x",
        "/os-images",
        "//os-images",
      ])
        assert.equal(await statusOf(server, "GET", way), 401, way);
    }));

  test("refuses a change by GET however its name is written", () =>
    serving(async (server) => {
      const headers = { authorization: "Bearer secret" };
      for (const path of ["/guest/Shutdown", "/guest/Shutdow%6e", "/guest/GuestApi.Shutdown", "/prpc/Vmm.Remove%56m"])
        assert.equal(await statusOf(server, "GET", `${path}?id=x`, headers), 400, path);
    }));
});
