import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { utf8 } from "@dstack/bytes";
import { isDangerousEnvName, renderEnvironment, renderEnvironmentJson, selectEnvironment } from "../src/index.ts";
import { renderValue } from "../src/environment.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

const plaintext = (pairs: unknown): Uint8Array => utf8(JSON.stringify({ env: pairs }));

describe("environment", () => {
  vectorTest(
    "renders values without backslash and newline as released guests do",
    "guest/env-render.json",
    ({ json }) => {
      const vectors = json<{
        escape: { value: string; rendered: string }[];
        file: { env: Record<string, string>; decrypted_env_json: string };
      }>("guest/env-render.json");
      for (const { value, rendered } of vectors.escape) {
        if (!/[\\\n]/.test(value)) assert.equal(renderValue(value), rendered);
      }
      const sorted = new Map(Object.entries(vectors.file.env).toSorted(([a], [b]) => (a < b ? -1 : 1)));
      assert.equal(renderEnvironmentJson(sorted), vectors.file.decrypted_env_json);
    },
  );

  it("escapes the backslash, so that a value cannot swallow the next variable (DS #1243)", () => {
    assert.equal(
      renderEnvironment(
        new Map([
          ["A", "trailing\\"],
          ["B", "1"],
        ]),
      ),
      'A="trailing\\\\"\nB=1\n',
    );
  });

  it("keeps only allowed names, the last of each, sorted", () => {
    const { variables, skipped } = selectEnvironment(
      plaintext([
        { key: "Z", value: "1" },
        { key: "A", value: "2" },
        { key: "NOT", value: "3" },
        { key: "Z", value: "4" },
      ]),
      ["A", "Z"],
    );
    assert.deepEqual(
      [...variables],
      [
        ["A", "2"],
        ["Z", "4"],
      ],
    );
    assert.deepEqual(skipped, ["NOT"]);
  });

  it("judges the allow-list before anything else about a pair", () => {
    assert.deepEqual(selectEnvironment(plaintext([{ key: "bad name", value: "1" }]), []).skipped, ["bad name"]);
    assert.throws(() => selectEnvironment(plaintext([{ key: "bad name", value: "1" }]), ["bad name"]), {
      code: "env-invalid",
    });
  });

  it("refuses too many, too long and misshapen pairs", () => {
    assert.throws(
      () => selectEnvironment(plaintext(Array.from({ length: 1025 }, () => ({ key: "A", value: "" }))), []),
      /Too many environment variables: 1025/,
    );
    assert.throws(() => selectEnvironment(plaintext([{ key: "A", value: "x".repeat(131_073) }]), ["A"]), {
      code: "env-invalid",
    });
    assert.throws(() => selectEnvironment(plaintext([{ key: "A".repeat(256), value: "" }]), ["A".repeat(256)]), {
      code: "env-invalid",
    });
    assert.throws(
      () =>
        selectEnvironment(plaintext(Array.from({ length: 9 }, () => ({ key: "A", value: "x".repeat(131_072) }))), [
          "A",
        ]),
      /1048576/,
    );
    assert.throws(() => selectEnvironment(plaintext([{ key: "A", value: "a\0b" }]), ["A"]), /NUL/);
    assert.throws(() => selectEnvironment(utf8('[{"key":"","value":""}]'), []), { code: "manifest-invalid" });
    assert.throws(() => selectEnvironment(utf8("{}"), []), /missing field `environment.env`/);
  });

  it("knows names that change how the guest itself runs (audit row 0d)", () => {
    for (const name of ["LD_PRELOAD", "PATH", "BASH_ENV", "DOCKER_HOST", "COMPOSE_FILE", "NODE_OPTIONS"])
      assert.ok(isDangerousEnvName(name), name);
    for (const name of [
      "DSTACK_DOCKER_USERNAME",
      "DSTACK_AWS_REGION",
      "API_KEY",
      "PATHS",
      "GREETING_SECRET",
      "OLD_PATH",
    ])
      assert.ok(!isDangerousEnvName(name), name);
  });
});
