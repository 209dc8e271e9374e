import { join } from "node:path";
import { REPOSITORY_ROOT } from "../images/image.ts";
import { stopVm } from "../apps/lifecycle.ts";
import { deployApp, type Deployment, type DeployRequest } from "../apps/deploy-app.ts";
import type { VmmClient } from "../clients/vmm-client.ts";
import { keptSecret } from "../local/development-keys.ts";
import type { StackLayout } from "../local/layout.ts";

export const HELLO_NAME = "hello";
export const HELLO_PORT = 80;

/** How examples/hello is deployed: one secret made at first start, and the sim image. */
export async function helloRequest(layout: StackLayout, image: string): Promise<DeployRequest> {
  return {
    composeFile: join(REPOSITORY_ROOT, "examples/hello/docker-compose.yaml"),
    name: HELLO_NAME,
    environment: [{ key: "GREETING_SECRET", value: await keptSecret(join(layout.state, "hello-secret"), 16) }],
    ports: [],
    image,
    vcpu: 2,
    memoryMib: 2048,
    diskGib: 10,
    // There is no time server on a machine without a network.
    secureTime: false,
    storageFs: "ext4",
    publicLogs: false,
    allowMutable: false,
    allow: true,
    check: true,
    appId: undefined,
  };
}

/**
 * Deploys hello, or updates the one of an earlier start, which keeps its disk and keys. One that
 * was deployed with another guest image is made anew: its measurement could not match.
 */
export async function deployHello(client: VmmClient, layout: StackLayout, image: string): Promise<Deployment> {
  const existing = (await client.list()).find((vm) => vm.name === HELLO_NAME);
  // It can only be one that the VMM started again a moment ago, before this image was allowed.
  if (existing !== undefined) await stopVm(client, existing.id, true);
  return deployApp(client, layout, await helloRequest(layout, image));
}
