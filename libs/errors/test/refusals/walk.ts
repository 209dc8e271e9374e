/**
 * The walk over every refusal of a daemon.
 * In: its tables of codes and rules, its sources, and a case for each code. Out: tests that fail where a code has no
 * case, a case no code, a text says nothing of what was seen, or a code has no next step that a person can type.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { CodedError, errorChain, type ErrorTable } from "../../src/index.ts";
import { raiseSites, ROOT, saysWhatItSaw, type RaiseSite } from "./raise-sites.ts";

/** A refusal that is produced for real, and what its text must say: what was refused, with the value seen. */
export interface Produced {
  readonly produce: () => unknown;
  readonly says: RegExp;
}

/** One that costs processes or a TEE: the test that produces it, and the words by which it is asserted there. */
export interface HeldElsewhere {
  readonly heldBy: string;
  readonly words: string;
}

export interface Walk {
  /** E.g. "services/kms". */
  readonly folder: string;
  /** The class of its errors. */
  readonly errors: string;
  readonly table: ErrorTable;
  readonly cases: Readonly<Record<string, Produced | HeldElsewhere>>;
  /** Texts that carry no value, each with why there is none to carry. */
  readonly words: Readonly<Record<string, Wordy>>;
  /** Codes that are not written at a `new`, with the file that has them. */
  readonly mapped?: Readonly<Record<string, string>>;
}

/** Why a refusal shows no value that it saw. */
export type Wordy =
  /** What is missing is the refusal: there was nothing to see. */
  | "nothing came"
  /** A setting or a state that is on or off; the text names it. */
  | "yes or no"
  /** The only value that leads here stands in the text. */
  | "stands in the text"
  /** It would be a key, a token or what is derived from one. */
  | "secret"
  /** Clients of released versions know exactly these words, and the value is their own request's. */
  | "words of the wire";

/** Defines the tests of one daemon. */
export function walkRefusals({ folder, errors, table, cases, words, mapped = {} }: Walk): void {
  const sites = raiseSites(folder, errors);

  test("every code has its case, and every case its code", () => {
    assert.deepEqual(Object.keys(cases).toSorted(), Object.keys(table).toSorted());
    const raised = new Set(sites.flatMap(({ codes }) => codes));
    for (const code of raised) assert.ok(Object.hasOwn(table, code), `${code} is in no table`);
    for (const code of Object.keys(table).filter((name) => !raised.has(name)))
      assert.ok(
        readFileSync(join(ROOT, folder, "src", mapped[code] ?? "errors-of-nobody.ts"), "utf8").includes(`"${code}"`),
        `${code} is raised nowhere`,
      );
  });

  for (const [code, held] of Object.entries(cases)) {
    if ("produce" in held)
      test(`${code} names what was refused and the value that was seen`, async () => {
        const error = await thrownBy(held.produce);
        assert.ok(error instanceof CodedError && error.constructor.name === errors, String(error));
        assert.equal(error.code, code, error.message);
        assert.match(errorChain(error), held.says);
        assert.ok(errorChain(error).length < 4_500);
      });
    else
      test(`${code} is produced by ${held.heldBy}`, () => {
        const file = join(ROOT, held.heldBy);
        assert.ok(existsSync(file));
        assert.ok(readFileSync(file, "utf8").includes(held.words), held.words);
      });
  }

  test("each place that refuses shows a value, or is listed with why there is none", () => assertWords(sites, words));
  test("each code says what to do next, in commands that there are", () => assertNextSteps(table));
}

/** The same of errors of another class that a daemon raises, e.g. the RPC layer's. */
export function assertWords(sites: readonly RaiseSite[], words: Readonly<Record<string, Wordy>>): void {
  assert.ok(sites.length > 0);
  const silent = sites.filter((site) => !saysWhatItSaw(site));
  const listed = Object.keys(words);
  const unlisted = silent.filter(({ text }) => !listed.some((known) => text.includes(known)));
  assert.deepEqual(
    unlisted.map(({ file, line, text }) => `${file}:${line} ${text}`),
    [],
    "say the value that was seen, or list the text with why there is none",
  );
  const stale = listed.filter((known) => !silent.some(({ text }) => text.includes(known)));
  assert.deepEqual(stale, [], "these texts are no more");
}

/** What a file of ours to change is called, for next steps that are no command. */
const TO_CHANGE =
  /\b(?:kms|gateway|vmm)\.toml\b|backup of the folder|the manifest|compose file|key folder|policy file|nothing to do|the caller|what the text says|what is said/;

/** Each row has a next step: a command, a file to change, or that there is nothing to do here. */
export function assertNextSteps(table: ErrorTable): void {
  const reference = readFileSync(join(ROOT, "docs/reference/cli.md"), "utf8");
  for (const [code, row] of Object.entries(table)) {
    assert.ok(typeof row !== "string", `${code} has no next step`);
    assert.match(row.next, /^[^|\n]{20,200}[^.\n]$/, code);
    const commands = [...row.next.matchAll(/`([^`]+)`/g)].map(([, command = ""]) => command);
    assert.ok(commands.length > 0 || TO_CHANGE.test(row.next), `${code}: ${row.next}`);
    assert.doesNotMatch(
      row.next.replaceAll(/`[^`]+`/g, ""),
      /\bdstack [a-z]+ /,
      `${code}: a command without its marks`,
    );
    for (const command of commands.filter((text) => text.startsWith("dstack ")))
      assert.ok(isCommand(reference, command), `${code}: there is no ${command}`);
  }
}

/** Whether the reference has the command; what follows are its arguments. */
function isCommand(reference: string, text: string): boolean {
  const has = (name: string): boolean => reference.includes(`\n## ${name}`);
  const words = text.replace(/ --help$/, "").split(" ");
  for (let count = words.length; count > 1; count--) {
    const name = words.slice(0, count).join(" ");
    // A group is no command: what follows it would have to be one of its own.
    if (has(`${name}\n`)) return count === words.length || !has(`${name} `);
  }
  return false;
}

async function thrownBy(produce: () => unknown): Promise<unknown> {
  try {
    await produce();
  } catch (error) {
    return error;
  }
  return "nothing was refused";
}
