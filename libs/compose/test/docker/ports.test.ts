import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { utf8 } from "@dstack/bytes";
import { gatewayPorts, portsOf, portText, readComposeFile, type ComposeFile } from "../../src/docker/index.ts";

const read = (ports: string, rest = ""): ComposeFile =>
  readComposeFile(utf8(`services: {a: {image: x, ports: [${ports}]${rest}}}`));
const texts = (ports: string): string[] =>
  read(ports).services.flatMap((service) => portsOf(service).ports.map(portText));

describe("ports", () => {
  it("are read in every form that docker compose takes", () => {
    for (const [entry, expected] of [
      ["80", [":80/tcp"]],
      ["'80'", [":80/tcp"]],
      ["8080:80", ["8080:80/tcp"]],
      ["22:22", ["22:22/tcp"]],
      ["'8080:80/udp'", ["8080:80/udp"]],
      ["'8080:80/TCP'", ["8080:80/tcp"]],
      ["'127.0.0.1:8080:80'", ["127.0.0.1:8080:80/tcp"]],
      ["'127.0.0.1::80'", ["127.0.0.1::80/tcp"]],
      ["'[::1]:8080:80'", ["[::1]:8080:80/tcp"]],
      ["'3000-3002:4000-4002'", ["3000:4000/tcp", "3001:4001/tcp", "3002:4002/tcp"]],
      ["'3000-3002'", [":3000/tcp", ":3001/tcp", ":3002/tcp"]],
      ["'8000-8010:80'", ["8000-8010:80/tcp"]],
      ["{target: 80}", [":80/tcp"]],
      ["{target: 80, published: 8080}", ["8080:80/tcp"]],
      ["{target: 80, published: '8080-8082', protocol: udp}", ["8080-8082:80/udp"]],
      ["{target: '80', published: '8080', host_ip: 127.0.0.1}", ["127.0.0.1:8080:80/tcp"]],
      ["'${P:-7443}:443'", ["7443:443/tcp"]],
      ["'80:80', '80:80'", ["80:80/tcp"]],
    ] as const)
      assert.deepEqual(texts(entry), expected, entry);
  });

  it("that are none are named, and those of unknown variables too", () => {
    for (const entry of [
      "'a:80'",
      "'80:b'",
      "'70000:80'",
      "'1-2:3-5'",
      "'80:80/icmp'",
      "'host:80:80'",
      "'::1:8080:80'",
      "0",
      "{published: 80}",
    ]) {
      const [service] = read(entry).services;
      assert.equal(service === undefined ? 0 : portsOf(service).invalid.length, 1, entry);
    }
    const [service] = read("'${P}:80'").services;
    assert.deepEqual(service === undefined ? [] : portsOf(service).unknown[0]?.variables, ["P"]);
  });
});

describe("the port that a gateway reaches", () => {
  it("is one that is published over TCP on all addresses", () => {
    const { reachable, unreachable } = gatewayPorts(
      read(
        "'127.0.0.1:81:80', '[::1]:82:80', '53:53/udp', '80', '10.0.0.1:83:80', '${P}:80', '0.0.0.0:8443:443', '8080-8082:80'",
      ),
    );
    assert.deepEqual(
      reachable.map(({ port }) => port),
      [8443],
    );
    assert.deepEqual(
      unreachable.map(({ reason }) => reason),
      ["loopback", "loopback", "protocol", "free-port", "address", "one-of-many", "variable"],
    );
  });

  it("is none of a service without network or container, nor where a variable decides its network", () => {
    for (const [rest, reason] of [
      [", network_mode: none", "no-network"],
      [", scale: 0", "no-container"],
      [", deploy: {replicas: 0}", "no-container"],
      [", network_mode: $N", "variable"],
    ] as const) {
      const { reachable, unreachable } = gatewayPorts(read("'80:80'", rest));
      assert.deepEqual([reachable, unreachable[0]?.reason], [[], reason], rest);
    }
  });

  it("is none of a service that a profile leaves out", () => {
    const { reachable, unreachable } = gatewayPorts(read("'80:80'", ", profiles: [debug]"));
    assert.deepEqual([reachable, unreachable[0]?.reason], [[], "profile"]);
  });

  it("is what a service on the VM's own network exposes, not what it publishes", () => {
    const answer = gatewayPorts(read("'80:80'", ", network_mode: host, expose: ['8080', 8090-8091, 53/udp]"));
    assert.deepEqual(
      answer.reachable.map(({ port }) => port),
      [8080, 8090, 8091],
    );
    assert.deepEqual(answer.hostNetwork, ["a"]);
  });
});
