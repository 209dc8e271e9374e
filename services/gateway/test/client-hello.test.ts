import { test } from "node:test";
import assert from "node:assert/strict";
import { parseHex } from "@dstack/bytes";
import { MAX_HELLO_BYTES, readServerName } from "../src/proxy/client-hello.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

interface Cases {
  readonly cases: readonly { readonly name: string; readonly hex: string; readonly sni: string | null }[];
}

const record = (body: Uint8Array): Uint8Array => Uint8Array.of(22, 3, 1, body.length >> 8, body.length & 255, ...body);
const u16 = (value: number): number[] => [value >> 8, value & 255];
const extension = (type: number, body: number[]): number[] => [...u16(type), ...u16(body.length), ...body];
const sni = (...names: string[]): number[] => {
  const list = names.flatMap((name) => [0, ...u16(name.length), ...Buffer.from(name, "latin1")]);
  return extension(0, [...u16(list.length), ...list]);
};

function hello(extensions: number[], padding = 0): Uint8Array {
  const all = padding === 0 ? extensions : [...extension(21, Array<number>(padding).fill(0)), ...extensions];
  const body = [3, 3, ...Array<number>(32).fill(7), 0, ...u16(2), 0xc0, 0x2f, 1, 0, ...u16(all.length), ...all];
  return Uint8Array.from([1, body.length >> 16, (body.length >> 8) & 255, body.length & 255, ...body]);
}

vectorTest("finds the names of the vectors", "gateway/client-hello.json", ({ json }) => {
  for (const row of json<Cases>("gateway/client-hello.json").cases) {
    const result = readServerName(parseHex(row.hex));
    assert.deepEqual(result, row.sni === null ? { kind: "absent" } : { kind: "name", name: row.sni }, row.name);
  }
});

vectorTest(
  "every strict prefix of a ClientHello asks for more, never gives a wrong name",
  "gateway/client-hello.json",
  ({ json }) => {
    for (const row of json<Cases>("gateway/client-hello.json").cases) {
      const bytes = parseHex(row.hex);
      for (let length = 0; length < bytes.length; length++)
        assert.deepEqual(
          readServerName(bytes.subarray(0, length)),
          { kind: "incomplete" },
          `${row.name} cut at ${length}`,
        );
    }
  },
);

test("a ClientHello spread over records, or as large as post-quantum ones are, gives its name", () => {
  const message = hello(sni("big.example"), 9_000);
  const pieces: number[] = [];
  for (let offset = 0; offset < message.length; offset += 500)
    pieces.push(...record(message.subarray(offset, offset + 500)));
  assert.deepEqual(readServerName(Uint8Array.from(pieces)), { kind: "name", name: "big.example" });
  assert.deepEqual(readServerName(record(message)), { kind: "name", name: "big.example" });
});

test("names are compared in lower case", () => {
  assert.deepEqual(readServerName(record(hello(sni("App.Example")))), { kind: "name", name: "app.example" });
});

test("refuses what is no ClientHello, and ones that contradict themselves", () => {
  const bad: [string, Uint8Array][] = [
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
    ["SSLv2 length", Uint8Array.of(0x80, 0x2e, 1, 3, 1)],
    ["record version", Uint8Array.of(22, 2, 0, 0, 4)],
    ["empty record", Uint8Array.of(22, 3, 1, 0, 0)],
    ["record too long", Uint8Array.of(22, 3, 1, 0x40, 0x01)],
    ["server hello", record(Uint8Array.of(2, 0, 0, 0))],
    ["hello too long", record(Uint8Array.of(1, 0, (MAX_HELLO_BYTES + 1) >> 8, (MAX_HELLO_BYTES + 1) & 255))],
    ["bytes after it", record(Uint8Array.from([...hello(sni("a.example")), 0]))],
    ["two names", record(hello(sni("a.example", "b.example")))],
    ["two extensions", record(hello([...sni("a.example"), ...sni("b.example")]))],
    ["not ASCII", record(hello(sni("\u00e4.example")))],
    ["NUL in the name", record(hello(sni("a.example\0.b")))],
    ["newline in the name", record(hello(sni("a\n.example")))],
    ["empty name", record(hello(sni("")))],
    ["length past the end", record(hello([0, 0, 0, 9, 0, 7, 0, 0, 60, 97, 98, 99, 100]))],
    [
      "too many records",
      Uint8Array.from(
        Array.from({ length: 70 }, () => [...record(Uint8Array.of(1))])
          .flat()
          .map((byte, i) => (i === 5 ? 1 : byte)),
      ),
    ],
  ];
  for (const [name, bytes] of bad) assert.equal(readServerName(bytes).kind, "invalid", name);
});
