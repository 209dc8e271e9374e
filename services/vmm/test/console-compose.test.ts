import assert from "node:assert/strict";
import { test } from "node:test";

// The page's own module, which has no types.
const MODULE = "../console/compose-text.js" as string;
const { shownCompose, withCompose } = (await import(MODULE)) as {
  shownCompose: (compose: string) => string;
  withCompose: (manifestText: string, shown: string) => string;
};

const COMPOSE = 'services:\n  web:\n    image: "nginx:1"\n';
/** As a person or another tool writes it: blanks, escapes, numbers and order that a rewrite would lose. */
const manifestWith = (compose: string): string =>
  `{ "name" : "caf\\u00e9\\/x",\n  "nested": {"docker_compose_file": "not this", "a": ["docker_compose_file", "}"]},\n  "docker_compose_file":   ${JSON.stringify(compose)} ,\n  "big": 1.0e2, "text": "\\"docker_compose_file\\": \\"nor this\\"" }\n`;

test("an update with nothing changed sends the very bytes that are there", () => {
  for (const compose of [COMPOSE, COMPOSE.replaceAll("\n", "\r\n"), "a: \r\n b\n", "a\rb\n", "\u2028 é \\u00e9 \\n"]) {
    const manifest = manifestWith(compose);
    assert.equal(withCompose(manifest, shownCompose(compose)), manifest);
  }
});

test("another compose file changes its own value alone", () => {
  const next = `${COMPOSE}# "quoted" \\ é\n`;
  assert.equal(withCompose(manifestWith(COMPOSE), next), manifestWith(next));
});

test("a file from Windows keeps its line ends, also in what was added", () => {
  const old = COMPOSE.replaceAll("\n", "\r\n");
  assert.equal(withCompose(manifestWith(old), `${COMPOSE}# more\n`), manifestWith(`${old}# more\r\n`));
  assert.equal(withCompose(manifestWith("a: 1\r\nb: 2\n"), "a: 1\nb: 3\n"), manifestWith("a: 1\nb: 3\n"));
});
