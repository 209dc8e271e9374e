import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ConfigError, loadConfig } from "../../libs/config/src/index.ts";
import { KEYS_MEND, PROGRAMS, readKeys, withKeyTables, type ConfiguredProgram } from "../docs/config-keys.ts";

const ROOT = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "dstack-keys-"));

/** A file that says nothing but this one thing. */
function nested(key: string, value: unknown): unknown {
  return key.split(".").reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
}

async function refusal({ schema, unread }: ConfiguredProgram, key: string, value: unknown): Promise<string> {
  const file = join(folder, "x.json");
  writeFileSync(file, JSON.stringify(nested(key, value)));
  try {
    await loadConfig({ name: "no-such-program", cwd: folder, file, schema, unread });
    return "";
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
}

for (const program of PROGRAMS)
  describe(`the keys of ${program.page}`, () => {
    test(`stand in the page as the schema has them (mend: ${KEYS_MEND})`, () => {
      assert.equal(
        readFileSync(join(ROOT, program.page), "utf8"),
        withKeyTables(program),
        `${program.page} is not what the schema says; run: ${KEYS_MEND}`,
      );
    });

    test("each say what they are for", () => {
      const keys = readKeys(program);
      assert.ok(keys.length > 5);
      for (const { key, meaning } of keys) assert.match(meaning, /^[A-Z`].{6,}[^.]$/, key);
      for (const { key, why } of program.unread) assert.match(why, /^.{10,}[^.]$/, key);
    });

    test("that are not acted on stand in tables: something else in a table's place is refused by its name", async () => {
      const above = program.unread.flatMap(({ key }) =>
        key.split(".").flatMap((_name, depth, names) => (depth === 0 ? [] : [names.slice(0, depth).join(".")])),
      );
      for (const key of new Set(above))
        for (const value of [true, "libvirt", 7, [{ enabled: true }], null])
          assert.match(await refusal(program, key, value), new RegExp(`: ${key}: expected a table`), key);
    });

    test("are each refused by name where their value is of a wrong type (SECURITY #906)", async () => {
      const mayBeNull = readKeys(program).flatMap(({ key, type }) => (type.includes("null") ? [key] : []));
      const keys = [...readKeys(program).map(({ key }) => key), ...program.unread.map(({ key }) => key)];
      for (const key of keys) {
        const told = `: ${key}`;
        // No key takes both; a table of anything takes neither.
        const messages = [await refusal(program, key, { a: { b: 1 } }), await refusal(program, key, [[1], { c: 2 }])];
        const wrong = messages.filter((message) => message !== "");
        assert.ok(wrong.length > 0, `${key} takes anything`);
        assert.ok(
          wrong.some((message) => message.includes(`at ${key}`) || message.includes(told)),
          `${key}: ${wrong.join("\n")}`,
        );
        if (!mayBeNull.includes(key)) assert.notEqual(await refusal(program, key, null), "", `${key} = null`);
      }
    });
  });
