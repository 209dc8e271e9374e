/** A request for any route, made from what the route says of itself. */
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import * as proto from "@dstack/proto";
import type { ToldRoute } from "./daemon-process.ts";
import { message, type Message } from "./wire-client.ts";

const JSON_BODY = { "content-type": "application/json" };
/** Of a plain route that reads one: no request that anybody would act on. */
const PLAIN_BODY = JSON.stringify({ chaos: "x".repeat(200) });

/** A request that reaches the route: every field of an RPC's request has a value, most of them of no use. */
export function messageFor({ verb, path, input }: ToldRoute, headers: Readonly<Record<string, string>> = {}): Message {
  const target = path.endsWith("/") && path !== "/" ? `${path}chaos` : path;
  if (input !== undefined)
    return message(verb, target, JSON.stringify(filled(descriptorOf(input))), { ...JSON_BODY, ...headers });
  return verb === "GET" ? message(verb, target, "", headers) : message(verb, target, PLAIN_BODY, headers);
}

/** For cuts: a GET is told to have a body that never comes whole. */
export const withBody = (whole: Message): Message =>
  whole.body.length > 0
    ? whole
    : {
        head: Buffer.from(
          whole.head.toString("latin1").replace(/\r\n\r\n$/, "\r\ncontent-length: 20\r\n\r\n"),
          "latin1",
        ),
        body: Buffer.from("a=1&b=2&c=3&d=4&e=5 "),
      };

const messages: ReadonlyMap<string, DescMessage> = new Map(
  Object.values(proto)
    .flatMap((file) => Object.values(file) as unknown[])
    .filter((value): value is DescMessage => (value as { kind?: string } | null)?.kind === "message")
    .map((value) => [value.typeName, value]),
);

export function descriptorOf(typeName: string): DescMessage {
  const found = messages.get(typeName) ?? (typeName === "google.protobuf.Empty" ? undefined : missing(typeName));
  return found ?? ({ fields: [] } as unknown as DescMessage);
}

function missing(typeName: string): never {
  throw new Error(`no message ${typeName} in @dstack/proto`);
}

export function filled(descriptor: DescMessage, depth = 0): Record<string, unknown> {
  if (depth > 3) return {};
  return Object.fromEntries(descriptor.fields.map((field) => [field.name, valueOf(field, depth)]));
}

function valueOf(field: DescField, depth: number): unknown {
  switch (field.fieldKind) {
    case "message":
      return filled(field.message, depth + 1);
    case "list":
      return [];
    case "map":
      return {};
    case "enum":
      return 0;
    case "scalar":
      // Booleans, strings, bytes; anything else is a number.
      return field.scalar === 8 ? true : field.scalar === 9 ? "chaos" : field.scalar === 12 ? "c0ffee" : 1;
    default:
      return field satisfies never;
  }
}
