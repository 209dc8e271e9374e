import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { buildAppCompose } from "@dstack/compose";
import { exchange } from "@dstack/http";
import { vmmMethods, waitForBoot } from "@dstack/cli/testing";
import { createDeployment, IMAGE, type Deployment } from "./deployment.ts";

const PORT_BASE = 29_100;
const APP_PORT = PORT_BASE + 90;
const BOOT_MS = 600_000;

let deployment: Deployment;
let client: Awaited<ReturnType<Deployment["context"]["vmm"]>>;
let id = "";

before(async () => {
  deployment = await createDeployment(PORT_BASE);
  await deployment.start();
  client = await deployment.context.vmm();
});
after(async () => {
  await deployment.stop();
});

test("an app without a KMS has its data again after a restart, by the local key provider", async () => {
  ({ id } = await client.call(vmmMethods.createVm, {
    name: "sealed",
    image: IMAGE,
    composeFile: manifest("1s"),
    vcpu: 2,
    memory: 2048,
    diskSize: 5,
    simulatedTee: "dstack-tdx",
    ports: [{ protocol: "tcp", hostAddress: "127.0.0.1", hostPort: APP_PORT, vmPort: 80 }],
  }));
  await waitForBoot(client, id, { timeoutMs: BOOT_MS, note: () => undefined });
  const first = await visits();
  await stop();
  await client.call(vmmMethods.startVm, { id });
  await waitForBoot(client, id, { timeoutMs: BOOT_MS, note: () => undefined });
  assert.ok((await visits()) > first);
});

test("another version of it is refused its disk, which says why", async () => {
  await stop();
  await client.call(vmmMethods.upgradeApp, { id, composeFile: manifest("2s") });
  await client.call(vmmMethods.startVm, { id });
  await assert.rejects(
    waitForBoot(client, id, { timeoutMs: BOOT_MS, note: () => undefined }),
    /was made with another key: .*from the local key provider every version has its own/,
  );
});

/** The demo app, which counts visits on its disk; `grace` makes another version of it. */
function manifest(grace: string): string {
  const { bytes } = buildAppCompose({
    name: "sealed",
    dockerComposeFile: `services:
  web:
    image: dstack/hello:latest
    ports: ["80:8080"]
    volumes: [data:/data]
    stop_grace_period: ${grace}
volumes:
  data:
`,
    keyProvider: "local",
    gatewayEnabled: false,
    secureTime: false,
    storageFs: "ext4",
  });
  return new TextDecoder().decode(bytes);
}

async function visits(): Promise<number> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    try {
      const url = `http://127.0.0.1:${APP_PORT}/`;
      const { body } = await exchange({ url, timeoutMs: 10_000, maxAnswerBytes: 65_536 });
      return Number(/visits: (\d+)/.exec(Buffer.from(body).toString())?.[1]);
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await sleep(1_000);
    }
  }
}

async function stop(): Promise<void> {
  const { code, stderr } = await deployment.cli("stop", "sealed");
  assert.equal(code, 0, stderr);
}
