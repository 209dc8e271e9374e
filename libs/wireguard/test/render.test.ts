import { test } from "node:test";
import assert from "node:assert/strict";
import {
  formatIpv4,
  generateWireGuardKeys,
  guestNetwork,
  parseEndpoint,
  parseIpv4,
  renderGatewayConfig,
  renderGuestConfig,
  wireGuardKeyFromBytes,
  WireGuardError,
  type GuestRegistration,
} from "../src/index.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const keys = generateWireGuardKeys();
const peerKey = (n: number): ReturnType<typeof wireGuardKeyFromBytes> =>
  wireGuardKeyFromBytes(new Uint8Array(32).fill(n));

vectorTest("the gateway's file has the bytes of the vectors", "gateway/wg", ({ text: read }) => {
  const two = read("gateway/wg/two-peers.conf");
  const empty = read("gateway/wg/empty.conf");
  const named = (text: string): string =>
    text
      .replace("PrivateKey = \n", `PrivateKey = ${keys.privateKey}\n`)
      .replace("test-pubkey-0", peerKey(0))
      .replace("test-pubkey-1", peerKey(1));
  const peers = [0, 1].map((n) => ({ publicKey: peerKey(n), address: parseIpv4(`10.0.0.${n + 2}`) }));
  assert.equal(renderGatewayConfig(keys.privateKey, 51820, peers), named(two));
  assert.equal(renderGatewayConfig(keys.privateKey, 51820, []), named(empty));
});

vectorTest(
  "the guest's file has the bytes of the vectors, peers sorted by key",
  "guest/wireguard-config.json",
  ({ json }) => {
    const vector = json<{
      register_response: { wg: { client_ip: string; servers: { pk: string; ip: string; endpoint: string }[] } };
      file: string;
    }>("guest/wireguard-config.json");
    const real: Record<string, string> = { "aaaa=": peerKey(1), "zzzz=": peerKey(200), "SK=": keys.privateKey };
    let expected = vector.file;
    for (const [name, key] of Object.entries(real)) expected = expected.replaceAll(name, key);
    const { wg } = vector.register_response;
    const network = guestNetwork(keys.privateKey, {
      clientIp: wg.client_ip,
      servers: wg.servers.map((server) => ({ ...server, pk: real[server.pk] ?? "" })),
    });
    assert.equal(renderGuestConfig(network), expected);
  },
);

test("a gateway cannot smuggle lines into the guest's file", () => {
  const good = { pk: keys.publicKey as string, ip: "10.4.0.1/24", endpoint: "203.0.113.2:9202" };
  const bad: GuestRegistration[] = [
    { clientIp: "10.4.0.7\nPostUp = sh", servers: [good] },
    { clientIp: "10.4.0.7", servers: [{ ...good, pk: `${keys.publicKey}\nPostUp = sh` }] },
    { clientIp: "10.4.0.7", servers: [{ ...good, ip: "10.4.0.1\nPostUp = sh" }] },
    { clientIp: "10.4.0.7", servers: [{ ...good, endpoint: "203.0.113.2:9202\nPostUp = sh" }] },
    { clientIp: "10.4.0.7", servers: [{ ...good, endpoint: "-x:1" }] },
  ];
  for (const answer of bad) assert.throws(() => guestNetwork(keys.privateKey, answer), WireGuardError);
});

test("endpoints are names or addresses with a port", () => {
  assert.deepEqual(parseEndpoint("gateway-1.example.com:9202"), { host: "gateway-1.example.com", port: 9202 });
  assert.deepEqual(parseEndpoint("[2001:db8::1]:51820"), { host: "2001:db8::1", port: 51820 });
  for (const text of [
    "",
    ":1",
    "a:0",
    "a:65536",
    "a:01",
    "a b:1",
    "a:1 ",
    "2001:db8::1:51820",
    "[zz]:1",
    "a;b:1",
    "$(x):1",
  ])
    assert.throws(() => parseEndpoint(text), WireGuardError, text);
});

test("addresses are dotted decimal only", () => {
  assert.equal(formatIpv4(parseIpv4("255.0.10.1")), "255.0.10.1");
  for (const text of ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", "0x1.2.3.4", "1..2.3"])
    assert.throws(() => parseIpv4(text), WireGuardError, text);
});
