import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex, utf8Decode } from "@dstack/bytes";
import {
  buildAppCompose,
  composeProject,
  DOCKER_COMPOSE_MAX_BYTES,
  lintDockerCompose,
  listImages,
  normalisedComposeHash,
  replaceImages,
} from "../src/index.ts";

const digest = `sha256:${"ab".repeat(32)}`;
const yaml = `# hello\nservices:\n  web:\n    image: "dstack/hello:latest" # tag\n    ports: ["8080:8080"]\n    volumes: [data:/data]\n  side:\n    image: other@${digest}\nvolumes: {data: {}}\n`;

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

describe("lintDockerCompose", () => {
  const texts = (text: string): string[] =>
    lintDockerCompose(text).map((finding) => `${finding.severity} ${finding.path}: ${finding.message}`);

  it("warns of an image that is not pinned by digest, with its line (audit row 07)", () => {
    const findings = lintDockerCompose(yaml);
    assert.equal(findings.length, 1);
    assert.deepEqual(
      [findings[0]?.severity, findings[0]?.path, findings[0]?.line],
      ["warning", "services.web.image", 4],
    );
  });

  it("names the line of invalid YAML", () => {
    const [finding] = lintDockerCompose("services:\n  web:\n   image: a\n  - b\n");
    assert.equal(finding?.severity, "error");
    assert.match(finding?.message ?? "", /invalid YAML at line \d, column \d/);
  });

  it("refuses files without services, without images, with build and above the size limit", () => {
    assert.match(texts("services: {}")[0] ?? "", /has no services/);
    assert.match(texts("volumes: {}")[0] ?? "", /has no services/);
    assert.match(texts("- a")[0] ?? "", /expected a mapping/);
    assert.match(texts("")[0] ?? "", /expected a mapping/);
    assert.match(texts("services: {a: {ports: []}}")[0] ?? "", /no `image`/);
    assert.match(texts("services: {a: {build: .}}")[0] ?? "", /error services.a.build/);
    assert.match(texts(`services: {a: {image: x@${digest}}}\nsecrets: {s: {file: ./s}}`)[0] ?? "", /error secrets.s/);
    assert.match(texts("#".repeat(DOCKER_COMPOSE_MAX_BYTES + 1))[0] ?? "", /at most 4194304/);
  });

  it("survives aliases that would expand without end", () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nservices: *c\n`;
    assert.match(texts(bomb)[0] ?? "", /no services/);
  });

  it("warns of Docker's socket, privileged containers and folders that do not survive", () => {
    const found = texts(
      `services:\n  a:\n    image: x@${digest}\n    privileged: true\n    volumes:\n      - /var/run/docker.sock:/s\n      - ./data:/data\n      - named:/n\n`,
    );
    assert.equal(found.length, 3);
  });
});

describe("images", () => {
  it("are listed and replaced without touching another byte", () => {
    assert.deepEqual(listImages(yaml), ["dstack/hello:latest", `other@${digest}`]);
    const pinned = replaceImages(yaml, new Map([["dstack/hello:latest", `dstack/hello@${digest}`]]));
    assert.equal(pinned, yaml.replace('"dstack/hello:latest"', `dstack/hello@${digest}`));
    assert.throws(() => replaceImages(yaml, new Map([["dstack/hello:latest", "a\nprivileged: true"]])), {
      code: "yaml-invalid",
    });
  });

  it("project and service names come from the file", async () => {
    assert.deepEqual(await composeProject(yaml, "dstack"), {
      name: "dstack",
      services: ["web", "side"],
      images: new Map([
        ["web", "dstack/hello:latest"],
        ["side", `other@${digest}`],
      ]),
    });
    assert.equal((await composeProject(`name: mine\n${yaml}`, "dstack")).name, "mine");
  });
});
