import type { Cli } from "../clients/cli.ts";
import type { vmm } from "@dstack/proto";
import type { VmmClient } from "../clients/vmm-client.ts";
import { appUrl } from "../local/app-url.ts";
import { CliError } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import { createProgress } from "../terminal/progress.ts";
import { deploymentPolicy, type AppPolicy } from "./plan/app-policy.ts";
import { gatewayAnswerOf } from "./plan/compose-input.ts";
import { interruptible } from "./apply/interruption.ts";
import { manifestOfVm } from "./plan/manifest.ts";
import { shellWord } from "../terminal/shell-word.ts";
import { waitForApp } from "./apply/wait-for-app.ts";
import { withdraw } from "./apply/withdraw.ts";

/** `dstack wait APP`: what `deploy` does after the start, for one that did not wait. */
export async function wait(cli: Cli, app: string): Promise<void> {
  const ports = { vmm: await cli.vmm(), policy: await deploymentPolicy(cli.layout) };
  const vm = await ports.vmm.find(app);
  const previous = await ports.vmm.previousVersion(vm.id);
  await interruptible((signal) => waitForVersion(cli, ports, { vm, replaced: previous?.composeHash, signal }));
}

export interface Waiting {
  readonly vm: vmm.VmInfo;
  /** Compose hash, hex, of the version that this one replaced. */
  readonly replaced: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * Waits until an app has booted and answers; the version that it replaced may no longer boot then.
 * @throws CliError with the command that goes back
 */
export async function waitForVersion(
  cli: Cli,
  ports: { readonly vmm: VmmClient; readonly policy: AppPolicy },
  { vm, replaced, signal }: Waiting,
): Promise<void> {
  const [port] = gatewayAnswerOf(manifestOfVm(vm)?.compose.dockerComposeFile).ports;
  try {
    await waitForApp(ports.vmm, {
      vmId: vm.id,
      url: port === undefined ? undefined : appUrl(cli.layout, vm.appId, port),
      caFile: `${cli.layout.caFolder}/ca.crt`,
      progress: createProgress(process.stderr),
      signal,
    });
  } catch (error) {
    if (!(error instanceof CliError) || replaced === undefined) throw error;
    throw new CliError(error.code, error.message, {
      cause: error.cause,
      hint: `${error.hint === undefined ? "" : `${error.hint}; `}to go back: dstack rollback ${shellWord(vm.name)}`,
    });
  }
  if (replaced === undefined) return;
  for (const { sign, path, value } of await withdraw({ ...ports, say: cli.out.say }, vm.appId, [replaced]))
    cli.out.say(`policy ${sign} ${visible(path)} ${visible(value)}`);
}
