import { create, toBinary } from "@bufbuild/protobuf";
import { concatBytes, toHex, utf8 } from "@dstack/bytes";
import { customReportData } from "@dstack/attest";
import { gateway } from "@dstack/proto";
import { messageFromJson } from "@dstack/rpc";
import type { Vectors } from "./vectors.ts";

const KEY = Buffer.from(new Uint8Array(32).fill(3)).toString("base64");
const OWN_KEY = "xc+7qkdeNFfl4g4xirGGGXHMc0cABuE5IHaLeCASVWM=";

/** ClientHellos, messages of the gateway's RPC, and what its certificates' quotes are made over. */
export function gatewayVectors(): Vectors {
  return {
    "gateway/client-hello.json": { cases: clientHellos() },
    "gateway/prpc-samples.json": { samples: samples() },
    "gateway/report-data.json": {
      cases: [
        { tag: "zt-cert", payload_hex: "00ff10" },
        { tag: "acme-account", payload_utf8: "https://acme.own.test/acct/1" },
      ].map((row) => ({
        ...row,
        report_data_hex: toHex(
          customReportData(
            row.tag,
            row.payload_hex === undefined
              ? utf8(row.payload_utf8)
              : new Uint8Array(Buffer.from(row.payload_hex, "hex")),
          ),
        ),
      })),
    },
    "gateway/ct/acme-info.json": {
      account_uri: "https://acme.own.test/acct/1",
      hist_keys: ["00ff10"],
      account_quote: "00",
      quoted_hist_keys: [{ public_key: "00ff10", quote: "00" }],
    },
  };
}

function clientHellos(): { name: string; hex: string; sni: string | null }[] {
  const name = (text: string): Uint8Array => {
    const entry = concatBytes(Uint8Array.of(0), sized(2, utf8(text)));
    return extension(0, sized(2, entry));
  };
  const padding = (length: number): Uint8Array => extension(21, new Uint8Array(length));
  const versions = extension(43, Uint8Array.of(2, 3, 4));
  const cases: [string, readonly Uint8Array[], string | null][] = [
    ["a name alone", [name("web-3000.apps.own.test")], "web-3000.apps.own.test"],
    ["a name behind others", [versions, padding(700), name("late.own.test")], "late.own.test"],
    ["a name before others", [name("early.own.test"), versions, padding(40)], "early.own.test"],
    ["no name", [versions], null],
  ];
  return cases.map(([title, extensions, sni]) => ({ name: title, hex: toHex(clientHello(extensions)), sni }));
}

function clientHello(extensions: readonly Uint8Array[]): Uint8Array {
  const random = Uint8Array.from({ length: 32 }, (_, i) => i);
  const suites = sized(2, Uint8Array.of(0x13, 0x01, 0xc0, 0x2f));
  const body = concatBytes(
    Uint8Array.of(3, 3),
    random,
    sized(1, new Uint8Array(0)),
    suites,
    sized(1, Uint8Array.of(0)),
    sized(2, concatBytes(...extensions)),
  );
  return concatBytes(Uint8Array.of(22, 3, 1), sized(2, concatBytes(Uint8Array.of(1), sized(3, body))));
}

const extension = (type: number, body: Uint8Array): Uint8Array =>
  concatBytes(Uint8Array.of(type >> 8, type & 255), sized(2, body));

/** Bytes behind their length, big-endian, in `width` bytes. */
function sized(width: number, bytes: Uint8Array): Uint8Array {
  const length = Uint8Array.from({ length: width }, (_, i) => (bytes.length >> (8 * (width - 1 - i))) & 255);
  return concatBytes(length, bytes);
}

function samples(): { rpc: string; proto_hex: string; json: unknown }[] {
  const wg = { pk: OWN_KEY, ip: "10.8.0.1/16", endpoint: "203.0.113.7:9202" };
  const request = {
    client_public_key: KEY,
    port_policy: {
      ports: [
        { port: 443, pp: true },
        { port: 8080, pp: false },
      ],
      restrict_mode: true,
    },
  };
  const answer = {
    wg: { client_ip: "10.8.0.2", servers: [wg] },
    agent: {
      external_port: 443,
      internal_port: 8090,
      domain: "apps.example.org",
      app_address_ns_prefix: "_dstack-app-address",
    },
    gateways: [
      {
        id: 1,
        uuid: "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        url: "https://gateway.example.com:9202",
        last_seen: 1_700_000_000,
        wg_public_key: wg.pk,
        wg_ip: wg.ip,
        wg_endpoint: wg.endpoint,
      },
    ],
  };
  const info = {
    base_domain: "apps.example.org",
    external_port: 443,
    app_address_ns_prefix: "_dstack-app-address",
    version: "0.6.0",
  };
  const { registerCvm, info: infoMethod } = gateway.Gateway.method;
  const row = (
    rpc: string,
    schema: typeof registerCvm.input | typeof registerCvm.output | typeof infoMethod.output,
    json: object,
  ) => ({
    rpc,
    proto_hex: toHex(toBinary(schema, create(schema, messageFromJson(schema, json) as never))),
    json,
  });
  return [
    row("RegisterCvm request (0.6.0, policy)", registerCvm.input, request),
    row("RegisterCvm response (0.6.0)", registerCvm.output, answer),
    row("Info response (0.6.0)", infoMethod.output, info),
  ];
}
