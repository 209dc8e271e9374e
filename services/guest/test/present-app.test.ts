import assert from "node:assert/strict";
import { test } from "node:test";
import { buildAppCompose, type AppCompose } from "@dstack/compose";
import { quietLog } from "../../../libs/agent/test/fixture.ts";
import { pruneDocker } from "../src/app/app-start.ts";
import type { DockerApi } from "../src/app/docker-api.ts";
import { presentApp, type PresentApp, type Project } from "../src/app/present-app.ts";

const present = (
  yaml: string,
  change: Partial<AppCompose> = {},
  variables: Record<string, string> = {},
): Promise<PresentApp> => {
  const { compose } = buildAppCompose({ name: "a", dockerComposeFile: "services: {a: {image: x}}" });
  return presentApp({ ...compose, dockerComposeFile: yaml, ...change }, new Map(Object.entries(variables)), "dstack");
};
const project = async (...args: Parameters<typeof present>): Promise<Project | undefined> =>
  (await present(...args)).project;

test("the present project has every service of the file, also those of merge keys, documents and inactive profiles", async () => {
  const yaml =
    "x-a: &a {image: x}\nservices: {web: {<<: *a}, tools: {image: y, profiles: [debug]}}\n---\nservices: {db: {image: z}}\n";
  assert.deepEqual(await project(yaml), { name: "dstack", services: ["web", "tools", "db"] });
  assert.equal((await project("name: ${N}\nservices: {a: {image: x}}", {}, { N: "Mine" }))?.name, "mine");
});

test("nothing is deleted by a file that is not understood beyond doubt", async () => {
  const yaml = "services: {web: {image: x}}";
  for (const [text, change, variables] of [
    ["services: [", {}, {}],
    [`include: [other.yaml]\n${yaml}`, {}, {}],
    ["services: {web: {image: x, nonsense: 1}}", {}, {}],
    ["services: {web: {image: !mine x}}", {}, {}],
    [yaml, {}, { COMPOSE_PROJECT_NAME: "other" }],
    [yaml, { preLaunchScript: "export COMPOSE_PROJECT_NAME=other" }, {}],
    [`name: \${N}\n${yaml}`, { preLaunchScript: "export N=other" }, {}],
    [undefined, {}, {}],
  ] as const)
    assert.equal(await project(text ?? "", change, variables), undefined, String(text));
  assert.deepEqual((await project(yaml, { preLaunchScript: "echo ready" }))?.services, ["web"]);
});

test("a version may leave something behind unless all that it does is to run its services", async () => {
  const yaml =
    "services: {web: {image: x, volumes: ['/run/dstack.sock:/run/dstack.sock', 'data:/data']}}\nvolumes: {data: {}}";
  assert.equal((await present(yaml)).mayLeaveBehind, false);
  assert.equal((await present(yaml, { preLaunchScript: "" })).mayLeaveBehind, false);
  const ordinary =
    "services: {web: {image: x, volumes: ['./conf:/c', '/etc/localtime:/etc/localtime:ro'], env_file: .env}}";
  assert.equal((await present(ordinary)).mayLeaveBehind, false);
  for (const [text, change] of [
    ["services: {web: {image: x, volumes: ['/var/run/docker.sock:/s']}}", {}],
    ["services: {web: {image: x, privileged: true}}", {}],
    ["services: {web: {image: x, volumes: ['/usr/bin:/b']}}", {}],
    ["services: {web: {image: x, volumes: ['/etc/ld.so.preload:/p']}}", {}],
    [
      "services: {web: {image: x, volumes: ['disk:/d']}}\nvolumes: {disk: {driver_opts: {type: ext4, device: /dev/vdb}}}",
      {},
    ],
    ["services: {web: {image: x, networks: [n]}}\nnetworks: {n: {external: true, name: host}}", {}],
    ["services: {web: {image: x, runtime: mine}}", {}],
    ["services: {web: {image: x, volumes: ['$WHERE:/s']}}", { allowedEnvs: ["WHERE"] }],
    [yaml, { preLaunchScript: "echo" }],
    [yaml, { initScripts: ["echo"] }],
    [yaml, { allowedEnvs: ["LD_PRELOAD"] }],
    [yaml, { runner: "bash" }],
    [`include: [other.yaml]\n${yaml}`, {}],
    ["services: [", {}],
  ] as const)
    assert.equal((await present(text, change)).mayLeaveBehind, true, text);
});

test("images and volumes are freed only of an app that is understood", async () => {
  const asked: string[] = [];
  const docker: DockerApi = { call: async (method, path) => void asked.push(`${method} ${path.split("?")[0]}`) };
  await pruneDocker(docker, false, quietLog);
  assert.deepEqual(asked, []);
  await pruneDocker(docker, true, quietLog);
  assert.deepEqual(asked, ["POST /images/prune", "POST /volumes/prune"]);
});
