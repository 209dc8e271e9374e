/** Requests that carry a very long text of a stranger, one in each place that a request has for text. */
import { message, type Message } from "../chaos/wire-client.ts";
import { descriptorOf, filled } from "../chaos/messages.ts";
import { BOOT } from "../chaos/daemons/boot-question.ts";
import type { ToldRoute } from "../chaos/daemon-process.ts";

/** A head may have 64 KiB. */
const LONG = "x".repeat(60 * 1024);
const JSON_BODY = { "content-type": "application/json" };
/** What plain routes read of a body, each of them of no use. */
const BODY: Readonly<Record<string, unknown>> = {
  ...BOOT,
  compose_file: "{}",
  image: "a",
  id: "a",
  quote: "00",
  event_log: "[]",
  vm_config: "{}",
  attestation: "00",
};
const QUERY_FIELDS = ["id", "nonce", "name", "domain", "lines"];

export interface LongText {
  readonly place: string;
  readonly request: Message;
}

export function* longTexts(
  { verb, path, input }: ToldRoute,
  headers: Readonly<Record<string, string>>,
): Generator<LongText> {
  const json = { ...headers, ...JSON_BODY };
  const get = (place: string, target: string): LongText => ({
    place: `${place} of ${path}`,
    request: message("GET", target, "", headers),
  });
  const post = (
    place: string,
    body: string,
    target = path,
    sent: Readonly<Record<string, string>> = json,
  ): LongText => ({
    place: `${place} of ${path}`,
    request: message("POST", target, body, sent),
  });
  yield get("path", `${path}${LONG}`);
  yield get("name in the query", `${path}?${LONG}=1`);
  yield post("content type", "{", path, { ...headers, "content-type": LONG });
  const asJson = `${path}?json`;
  if (input !== undefined) {
    const descriptor = descriptorOf(input);
    for (const { name } of descriptor.fields) {
      yield get(`query field ${name}`, `${path}?${name}=${LONG}`);
      yield post(`member ${name}`, JSON.stringify({ ...filled(descriptor), [name]: LONG }), asJson);
    }
    yield post("member twice", `{"${LONG}":1,"${LONG}":1}`, asJson);
    yield post("what is no JSON", LONG, asJson);
    yield post("what is no protobuf message", LONG, path, headers);
  } else if (verb === "GET") {
    for (const name of QUERY_FIELDS) yield get(`query field ${name}`, `${path}?${name}=${LONG}`);
  } else {
    for (const name of Object.keys(BODY)) yield post(`member ${name}`, JSON.stringify({ ...BODY, [name]: LONG }));
    yield post("unknown member", `{"${LONG}":1}`);
    yield post("member twice", `{"${LONG}":1,"${LONG}":1}`);
    yield post("a wrong list", JSON.stringify({ ...BODY, advisoryIds: Array.from({ length: 200 }, () => 1) }));
    yield post("what is no JSON", LONG);
  }
}
