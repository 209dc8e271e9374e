import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { createCli } from "../src/clients/cli.ts";
import { createProgram } from "../src/main.ts";

const SOURCES = join(import.meta.dirname, "../src");
/** Of the library that prints the shells' completions. */
const FOREIGN = ["complete"];

/** Every command with the words it is typed by, e.g. ["kms", "share", "open"]. */
function commands(parent: CommandUnknownOpts, path: readonly string[] = []): [readonly string[], CommandUnknownOpts][] {
  return parent.commands
    .filter((command) => !FOREIGN.includes(command.name()))
    .flatMap((command) => {
      const words = [...path, command.name()];
      return [[words, command] as [readonly string[], CommandUnknownOpts], ...commands(command, words)];
    });
}

const all = commands(createProgram(createCli({})));
const leaves = all.filter(([, command]) => command.commands.length === 0);

describe("a command", () => {
  test("is done by the function that is named as it is typed, and declared under that name", () => {
    const files = globSync("*/*.ts", { cwd: SOURCES }).map((file) => ({
      file,
      text: readFileSync(join(SOURCES, file), "utf8"),
    }));
    assert.ok(leaves.length > 40, String(leaves.length));
    for (const [words] of leaves) {
      const name = words.join("-").replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
      for (const [exported, where] of [
        [name, /^(?!options|program)/],
        [`${name}Command`, /^options/],
      ] as const) {
        const found = files.filter(
          ({ file, text }) =>
            where.test(file.split("/")[1] ?? "") &&
            new RegExp(`^export .*\\b(?:function|const) ${exported}\\b`, "m").test(text),
        );
        assert.equal(
          found.length,
          1,
          `${exported} of \`dstack ${words.join(" ")}\`: ${found.map(({ file }) => file).join(", ")}`,
        );
      }
    }
  });

  test("says in a line what it does, and shows how it is called", () => {
    for (const [words, command] of leaves) {
      assert.notEqual(command.summary(), "", words.join(" "));
      let help = "";
      command.configureOutput({ writeOut: (text) => (help += text) });
      command.outputHelp();
      assert.match(
        help,
        new RegExp(`Examples:\\n {2}\\$ dstack ${words.join(" ").replace(/^mr measure/, "mr")}`),
        words.join(" "),
      );
    }
  });
});
