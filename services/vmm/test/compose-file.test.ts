import assert from "node:assert/strict";
import { test } from "node:test";
import { readCompose } from "../src/fleet/vm-request.ts";

const manifest = (dockerComposeFile: string): string =>
  JSON.stringify({ manifest_version: 2, name: "a", runner: "docker-compose", docker_compose_file: dockerComposeFile });

test("compose files that docker compose runs are accepted, whatever else is said of them", () => {
  for (const yaml of [
    "x-a: &a {image: x}\nservices: {web: {<<: *a}}",
    "x-a: &a {image: x}\nservices: {web: *a}",
    "services: {a: {image: x}}\n---\nservices: {b: {image: y}}",
    "services: {a: {image: x}, b: {extends: a}}",
    "services: {a: {build: {dockerfile_inline: FROM x}}}",
    "services: {a: {build: .}}",
    "services: {}",
    "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {file: ./s}}",
    "services: {a: {image: x, privileged: true, ports: ['8090:80']}}",
    'services: {a: {image: "$IMAGE", ports: ["${PORT:?}:80"]}}',
    "\uFEFFservices:\r\n  a:\r\n    image: x\r\n",
  ])
    assert.equal(readCompose(manifest(yaml)).compose.dockerComposeFile, yaml);
});

test("compose files that docker compose would refuse are refused, with the line", () => {
  for (const [yaml, reason] of [
    [
      "services:\n  a:\n    image: x\n    port: ['80:80']\n",
      /docker_compose_file: line 4: services\.a\.port: unknown key/,
    ],
    ["services: {a: {image: x, restart: false}}", /expected a text/],
    ["services: {a: {command: x}}", /service has no `image`/],
  ] as const)
    assert.throws(() => readCompose(manifest(yaml)), { code: "request-invalid", message: reason });
  assert.throws(() => readCompose(manifest("services: [")), {
    code: "request-invalid",
    message: /docker_compose_file/,
  });
});
