import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { guestApi } from "@dstack/proto";
import { callRpc, httpTransport, mount, startHttpServer, type HttpServer, type RpcTransport } from "@dstack/rpc";
import { createAgent, guestApiService, type Agent } from "../src/index.ts";
import { quietLog, recordedPorts } from "./fixture.ts";

describe("what the host may ask", () => {
  const methods = guestApi.GuestApi.method;
  let server: HttpServer;
  let agent: Agent | undefined;
  let shutdowns = 0;

  before(async () => {
    server = await startHttpServer({
      listen: { host: "127.0.0.1", port: 0 },
      mounts: [
        mount(
          "/api/",
          guestApiService({
            agent: () => agent,
            networkInfo: async () => ({ dnsServers: ["10.0.2.3"], gateways: [], interfaces: [], wgInfo: "" }),
            shutdown: () => shutdowns++,
            log: quietLog,
          }),
        ),
      ],
      log: quietLog,
    });
  });
  after(() => server.close());

  const limits = { timeoutMs: 5_000 };
  const host = (): RpcTransport => httpTransport({ baseUrl: `http://${server.address}/api` });

  it("is answered as far as the boot has come: the network at once, the app when its keys are there", async () => {
    assert.deepEqual((await callRpc(host(), methods.networkInfo, {}, limits)).dnsServers, ["10.0.2.3"]);
    await assert.rejects(callRpc(host(), methods.info, {}, limits), /the guest is still booting/);
    await assert.rejects(callRpc(host(), methods.listContainers, {}, limits), /the guest is still booting/);
    agent = createAgent(recordedPorts());
    assert.equal((await callRpc(host(), methods.info, {}, limits)).version, "0.6.0");
    const { containers } = await callRpc(host(), methods.listContainers, {}, limits);
    assert.deepEqual(
      containers.map(({ names, created }) => [names, created]),
      [[["/<web>"], 5n]],
    );
    assert.equal((await callRpc(host(), methods.sysInfo, {}, limits)).disks[0]?.mountPoint, "/");
  });

  it("is the external view: an app that makes nothing public shows the host no more", async () => {
    agent = createAgent(recordedPorts({ public_tcbinfo: false }));
    assert.equal((await callRpc(host(), methods.info, {}, limits)).tcbInfo, "");
    agent = createAgent(recordedPorts());
    assert.notEqual((await callRpc(host(), methods.info, {}, limits)).tcbInfo, "");
  });

  it("begins a shutdown without waiting for it", async () => {
    await callRpc(host(), methods.shutdown, {}, limits);
    assert.equal(shutdowns, 1);
  });
});
