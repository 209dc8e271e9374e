import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex, utf8Decode } from "@dstack/bytes";
import { buildAppCompose, normalisedComposeHash } from "../src/index.ts";

const yaml = `# hello\nservices:\n  web:\n    image: "dstack/hello:latest" # tag\n    ports: ["8080:8080"]\n    volumes: [data:/data]\nvolumes: {data: {}}\n`;

describe("buildAppCompose", () => {
  it("gives the same bytes for the same options, carrying the compose file verbatim", () => {
    const options = {
      name: "hello",
      dockerComposeFile: yaml,
      allowedEnvs: ["B", "A", "B"],
      secureTime: false,
    } as const;
    const a = buildAppCompose(options);
    assert.deepEqual(a.bytes, buildAppCompose(options).bytes);
    const compose = a.compose;
    assert.equal(compose.dockerComposeFile, yaml);
    assert.deepEqual(compose.allowedEnvs, ["B", "A"]);
    assert.equal(compose.keyProvider, "kms");
    assert.equal(compose.gatewayEnabled, true);
    assert.equal(compose.publicLogs, false, "container output is private unless asked for (audit row 08)");
    assert.notEqual(
      toHex(a.composeHash),
      toHex(normalisedComposeHash(JSON.parse(utf8Decode(a.bytes)) as Record<string, unknown>)),
    );
  });

  it("refuses names with control characters, dangerous variables and a bad swap size", () => {
    assert.throws(() => buildAppCompose({ name: "a\u0007b", dockerComposeFile: yaml }), /control characters/);
    assert.throws(() => buildAppCompose({ name: "a\u202eb", dockerComposeFile: yaml }), /control characters/);
    assert.throws(() => buildAppCompose({ name: "", dockerComposeFile: yaml }), { code: "manifest-invalid" });
    assert.throws(
      () => buildAppCompose({ name: "a", dockerComposeFile: yaml, allowedEnvs: ["LD_PRELOAD"] }),
      /LD_PRELOAD/,
    );
    assert.throws(() => buildAppCompose({ name: "a", dockerComposeFile: yaml, allowedEnvs: ["A B"] }), {
      code: "env-invalid",
    });
    assert.throws(() => buildAppCompose({ name: "a", dockerComposeFile: yaml, swapSize: "1X" }), {
      code: "size-invalid",
    });
  });
});
