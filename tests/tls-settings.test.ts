import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ROOT } from "./workspaces.ts";

/** What makes a TLS connection, or what one is made with. */
const MAKERS: Readonly<Record<string, readonly string[]>> = {
  "node:tls": ["connect", "createServer", "createSecureContext", "createSecurePair", "TLSSocket", "Server"],
  "node:https": ["request", "get", "createServer", "Agent", "Server"],
  "node:http2": ["connect", "createSecureServer"],
};
/** Settings that `tlsSettings` has: whoever sets them himself has others. */
const SETTINGS = /\b(?:ciphers|ecdhCurve|secureProtocol|sigalgs|dhparam|honorCipherOrder)\s*:/;
const HOME = "libs/http/src/tls-settings.ts";

/** Names of values that a file imports from a module; types make nothing. */
function valuesFrom(text: string, module: string): string[] {
  const statement = new RegExp(`import\\s+\\{([^}]*)\\}\\s+from\\s+"${module}"`, "g");
  return [...text.matchAll(statement)].flatMap(([, names = ""]) =>
    names
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== "" && !name.startsWith("type "))
      .map((name) => name.split(" ")[0] ?? ""),
  );
}

function makersIn(text: string): string[] {
  const whole = /import\s+(?:\*\s+as\s+)?\w+\s+from\s+"node:(?:tls|https|http2)"/.test(text) ? ["all of it"] : [];
  return Object.entries(MAKERS).flatMap(([module, names]) => [
    ...whole,
    ...valuesFrom(text, module).filter((name) => names.includes(name)),
  ]);
}

/** Makers that are given settings, or sockets, which somebody else made with `tlsSettings`. */
const GIVEN: Readonly<Record<string, string>> = {
  "libs/http/src/kept-connections.ts": "connections are made with the options of each request",
  "services/gateway/src/proxy/tls-accept.ts": "takes the context of certificates.ts",
};

describe("TLS settings", () => {
  const files = globSync(["{libs,services}/*/src/**/*.ts", "cli/src/**/*.ts"], { cwd: ROOT }).map((file) => ({
    file,
    text: readFileSync(join(ROOT, file), "utf8"),
  }));

  test("come from one place wherever a TLS connection is made", () => {
    const makers = files.filter(({ text }) => makersIn(text).length > 0);
    assert.ok(makers.length >= 5);
    const wrong = makers.filter(({ file, text }) => !text.includes("tlsSettings(") && GIVEN[file] === undefined);
    assert.deepEqual(
      wrong.map(({ file, text }) => `${file} uses ${makersIn(text).join(", ")} without tlsSettings`),
      [],
    );
    const makerFiles = new Set(makers.map(({ file }) => file));
    assert.deepEqual(
      Object.keys(GIVEN).filter((file) => !makerFiles.has(file)),
      [],
      "exceptions that are none",
    );
  });

  test("are set nowhere else", () => {
    const wrong = files.filter(({ file, text }) => file !== HOME && SETTINGS.test(text));
    assert.deepEqual(
      wrong.map(({ file }) => file),
      [],
    );
  });

  test("are seen where somebody goes past them", () => {
    assert.deepEqual(makersIn('import { connect, type TLSSocket } from "node:tls";'), ["connect"]);
    assert.deepEqual(makersIn('import { request as tlsRequest } from "node:https";'), ["request"]);
    assert.deepEqual(makersIn('import type { TLSSocket } from "node:tls";'), []);
    assert.notDeepEqual(makersIn('import https from "node:https";'), []);
    assert.ok(SETTINGS.test('{ ciphers: "ALL" }'));
  });
});
