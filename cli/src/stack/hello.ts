import { join } from "node:path";
import { HELLO_COMPOSE_FILE } from "../local/places.ts";
import { withAppLock } from "../apps/apply/app-lock.ts";
import { applyDeployment, finishDeployment } from "../apps/apply/apply.ts";
import { deployPorts } from "../apps/plan/plan-ports.ts";
import { planDeployment, requireReady } from "../apps/plan/plan.ts";
import type { DeployRequest } from "../apps/plan/request.ts";
import { stopVm } from "../apps/apply/stop-vm.ts";
import type { Cli } from "../clients/cli.ts";
import { keptSecret } from "../local/development-keys.ts";
import type { StackLayout } from "../local/layout.ts";

const HELLO_NAME = "hello";
export const HELLO_PORT = 80;

/** How examples/hello is deployed: one secret made at first start, and the sim image. */
async function helloRequest(layout: StackLayout, image: string): Promise<DeployRequest> {
  return {
    app: {
      composeFile: HELLO_COMPOSE_FILE,
      name: HELLO_NAME,
      appId: undefined,
      environment: [{ key: "GREETING_SECRET", value: await keptSecret(join(layout.state, "hello-secret"), 16) }],
      dropEnvironment: true,
      // There is no time server on a machine without a network.
      secureTime: false,
      storageFs: "ext4",
      publicLogs: false,
      allowMutable: false,
    },
    machine: { image, vcpu: 2, memoryMib: 2048, diskGib: undefined, ports: undefined, dropPorts: false },
    permission: { allow: true, check: true },
  };
}

export interface HelloDeployment {
  readonly vmId: string;
  readonly appId: string;
  readonly composeHash: string;
  /** To be called once it answers. */
  finish(): Promise<void>;
}

/** Deploys hello, or updates the one of an earlier start, which keeps its disk and keys. */
export function deployHello(cli: Cli, image: string): Promise<HelloDeployment> {
  return withAppLock(cli.layout, HELLO_NAME, () => deployLocked(cli, image));
}

async function deployLocked({ layout, out: { say }, ...cli }: Cli, image: string): Promise<HelloDeployment> {
  const vmm = await cli.vmm();
  const ports = { ...(await deployPorts(vmm, layout)), say };
  const existing = (await vmm.list()).find((vm) => vm.name === HELLO_NAME && vm.status !== "removing");
  // It can only be one that the VMM started again a moment ago, before this image was allowed.
  if (existing !== undefined) await stopVm(vmm, existing.id, { force: true, say });
  const plan = await planDeployment(await helloRequest(layout, image), ports);
  requireReady(plan);
  const deployment = await applyDeployment(plan, ports, { rollBack: false });
  return {
    vmId: deployment.vmId,
    appId: plan.appId,
    composeHash: plan.permission.version.composeHash,
    finish: () => withAppLock(layout, HELLO_NAME, () => finishDeployment(deployment, ports)),
  };
}
