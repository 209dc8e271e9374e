import { mutateBytes } from "./mutate-bytes.ts";
import type { Value } from "./mutate-value.ts";
import type { Random } from "./random.ts";

/**
 * A JSON text whose document was edited; now and then a member comes twice, a number gets another
 * form, or bytes are changed. Text that is no JSON is edited as bytes.
 */
export function mutateJsonText(
  random: Random,
  text: Uint8Array,
  edit: (random: Random, value: Value) => Value,
): Uint8Array {
  let value: Value;
  try {
    value = JSON.parse(Buffer.from(text).toString("utf8")) as Value;
  } catch {
    return mutateBytes(random, text, text);
  }
  const out = JSON.stringify(edit(random, value), (_, member: unknown) =>
    member instanceof Uint8Array ? [...member] : member,
  );
  const bytes = new Uint8Array(Buffer.from(random.oneIn(8) ? editText(random, out) : out, "utf8"));
  return random.oneIn(10) ? mutateBytes(random, bytes, text) : bytes;
}

function editText(random: Random, json: string): string {
  switch (random.below(4)) {
    case 0: {
      const members = [...json.matchAll(/"[a-zA-Z_]{1,40}":(?:\d+|"[^"\\]{0,200}")/g)];
      if (members.length === 0) return json;
      const at = random.pick(members).index;
      return `${json.slice(0, at)}${random.pick(members)[0]},${json.slice(at)}`;
    }
    case 1:
      return json.replace(/:(\d+)/, random.pick([":$1.0", ":1e999", ":-0", ":0$1", ":$1e0", ":99999999999999999999"]));
    case 2:
      return "[".repeat(random.below(3000)) + json;
    default:
      return json.replace(/"([a-z]+)"/, random.pick(['"\\u0061$1"', '"$1\\u0000"', '"\\ud800"', '"__proto__"']));
  }
}
