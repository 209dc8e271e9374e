import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ROOT } from "./workspaces.ts";

/** `const text = errorChain(cause);`, and what follows it for a while. */
const KEPT_TEXT =
  "(?:const|let) (\\w+) =[^;]{0,80}?(?:\\berrorChain\\(|\\b(?:error|cause|reason|err)\\b[^;\\n]{0,20}\\.message\\b)[^;]*;[^]{0,500}?";

/** What tells one error from another by something other than its code: each with why it is none. */
const FORBIDDEN: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/\b(?:error|cause|reason|err)\b[^;\n]{0,20}\.name\s*[!=]==/, "the name of an error's class"],
  [/\.test\(\s*\(?\s*(?:error|cause|err|at)\b[^)]*\.(?:message|name)\b/, "a pattern over an error's text"],
  [/\.exec\(\s*\(?\s*(?:error|cause|err|at)\b[^)]*\.(?:message|name)\b/, "a pattern over an error's text"],
  [
    /\b(?:error|cause|err)(?: as Error\))?\.message\.(?:match|includes|startsWith|endsWith|search)\(/,
    "an error's text",
  ],
  [/\.(?:test|exec)\(errorChain\(/, "a pattern over a chain of errors"],
  [/errorChain\([^)]*\)\.(?:match|includes|search|startsWith|endsWith)\(/, "the text of a chain of errors"],
  [new RegExp(`${KEPT_TEXT}\\b\\1\\.(?:match|includes|startsWith|endsWith|search)\\(`), "an error's text, kept before"],
  [new RegExp(`${KEPT_TEXT}\\.(?:test|exec)\\(\\1\\)`), "a pattern over an error's text, kept before"],
];
/** The places that may. */
const BY_TEXT: Readonly<Record<string, string>> = {
  "libs/rpc/src/client.ts": "refusals of other makers' servers, which the wire contract knows by their words",
  "libs/http/src/transport-failure.ts": "OpenSSL's reasons, whose codes Node passes on inside the text alone",
};

const offencesIn = (text: string): string[] =>
  FORBIDDEN.filter(([pattern]) => pattern.test(text)).map(([, why]) => why);

describe("errors are matched by code and facts", () => {
  test("nothing in our sources looks at an error's text or class name", () => {
    const files = globSync(["{libs,services}/*/src/**/*.ts", "cli/src/**/*.ts", "scripts/**/*.ts", "bench/**/*.ts"], {
      cwd: ROOT,
    }).filter((file) => BY_TEXT[file] === undefined);
    assert.ok(files.length > 400);
    const wrong = files.flatMap((file) =>
      offencesIn(readFileSync(join(ROOT, file), "utf8")).map((why) => `${file} decides by ${why}`),
    );
    assert.deepEqual(wrong, [], "match on code (isCoded, instanceof and code) or on facts; see libs/errors/README.md");
  });

  test("the rule sees what it is to forbid, and nothing else", () => {
    const bad = [
      'if (error.name === "DerError") return;',
      'if ((error as Error).name !== "DerError") throw error;',
      "const register = /RTMR[0-2]/.exec(error.message)?.[1];",
      "cause instanceof Error && /authenticate/.test(cause.message)",
      "/^(Der|Bytes)Error$/.test(cause.name)",
      'error.message.includes("no")',
      '!errorChain(error).includes("no attestation")',
      "/status 404/i.test(errorChain(error))",
      'errorChain(error).startsWith("App not allowed")',
      "const text = errorChain(cause);\n  return text.startsWith(context) ? a : b;",
      "const text = cause instanceof Error ? cause.message : String(cause);\n  if (/denied/.test(text)) return;",
    ];
    assert.deepEqual(
      bad.filter((text) => offencesIn(text).length === 0),
      [],
    );
    for (const text of [
      "throw error.message",
      'judgement.name === "tcb-info"',
      'error.code === "x"',
      "say(error.message)",
      "const text = errorChain(cause);\n  say(text, name.startsWith(context));",
    ])
      assert.deepEqual(offencesIn(text), [], text);
  });
});
