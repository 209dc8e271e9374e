import assert from "node:assert/strict";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { quietLog } from "../../../libs/agent/test/fixture.ts";
import { stopApp } from "../src/app/app-start.ts";
import type { DockerApi } from "../src/app/docker-api.ts";
import { startDocker } from "../src/app/docker.ts";

test("dockerd revives nothing at its start; one that died later revives what the present app had", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "dstack-docker-"));
  const socketPath = join(folder, "docker.sock");
  const server = createServer((_request, response) => response.end("OK")).listen(socketPath);
  const path = process.env["PATH"];
  t.after(async () => {
    process.env["PATH"] = path;
    server.close();
    await rm(folder, { recursive: true });
  });
  const calls = join(folder, "calls");
  // Lives until it is told to die.
  await writeFile(
    join(folder, "dockerd"),
    `#!/bin/sh\necho "$*" >> ${calls}\nwhile [ ! -e ${folder}/die ]; do /bin/sleep 0.05; done\n/bin/rm ${folder}/die\n`,
  );
  await chmod(join(folder, "dockerd"), 0o755);
  process.env["PATH"] = folder;
  const docker = await startDocker({
    configPath: join(folder, "daemon.json"),
    socketPath,
    dataFolder: join(folder, "data"),
    mountPoint: join(folder, "mount"),
    registryMirror: undefined,
    run: async () => ({ code: 0, stdout: "", stderr: "" }),
    log: quietLog,
  });
  await docker.ready();
  const lines = async (count: number): Promise<readonly string[]> => {
    for (let i = 0; i < 200; i++) {
      const found = (await readFile(calls, "utf8").catch(() => "")).trim().split("\n");
      if (found.length >= count && found[0] !== "") return found;
      await sleep(50);
    }
    throw new Error(`dockerd was not started ${count} times`);
  };
  await lines(1);
  await writeFile(join(folder, "die"), "");
  await lines(2);
  docker.settle();
  await writeFile(join(folder, "die"), "");
  const starts = await lines(3);
  await docker.daemon.stop(1_000);
  assert.deepEqual(
    starts.map((line) => line.endsWith(" --restart=false")),
    [true, true, false],
  );
});

test("the app is stopped by its project's name, without the variables of its file; what it started itself is left to Docker", async () => {
  const container = (Id: string, State: string, project: string, file: string): object => ({
    Id,
    State,
    Labels: { "com.docker.compose.project": project, "com.docker.compose.project.config_files": file },
  });
  const docker: DockerApi = {
    call: async () => [
      container("1", "running", "shop", "/dstack/docker-compose.yaml"),
      container("2", "restarting", "shop", "/dstack/docker-compose.yaml"),
      container("3", "exited", "old", "/dstack/docker-compose.yaml"),
      container("4", "running", "launched", "/work/docker-compose.yaml"),
      { Id: "5", State: "running" },
    ],
  };
  const ran: { readonly args: readonly string[]; readonly env: NodeJS.ProcessEnv }[] = [];
  await stopApp(
    docker,
    "/dstack",
    async (program, args, options) => {
      ran.push({ args: [program, ...args], env: options?.env ?? {} });
      return { code: 0, stdout: "", stderr: "" };
    },
    quietLog,
  );
  assert.deepEqual(
    ran.map(({ args }) => args.join(" ")),
    ["docker-compose --project-name=shop stop --timeout 10"],
  );
  assert.deepEqual(Object.keys(ran[0]?.env ?? {}).toSorted(), ["HOME", "LANG", "PATH"]);
});
