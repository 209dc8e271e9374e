import type { PolicyLine } from "@dstack/governance";
import type { vmm } from "@dstack/proto";
import { forgetEmptyApp, withdrawVersions } from "../../auth/policy-file.ts";
import type { VmmClient } from "../../clients/vmm-client.ts";
import type { AppPolicy } from "../plan/app-policy.ts";
import { versionOf } from "../plan/manifest.ts";

export interface WithdrawPorts {
  readonly vmm: VmmClient;
  readonly policy: AppPolicy;
  readonly say: (text: string) => void;
}

/**
 * Takes versions off the policy, but none that an instance of the app still has: it could not boot again. An app
 * without any instance and any version left is forgotten. Where the VMM is not the local deployment's, others may
 * run the app under the same policy and are not known: nothing is withdrawn, and the commands are said that do.
 * Gives the differences.
 * @param hashes compose hashes, hex
 */
export async function withdraw(
  { vmm, policy, say }: WithdrawPorts,
  appId: string,
  hashes: readonly string[],
): Promise<readonly PolicyLine[]> {
  if (!policy.isOurs) return [];
  const instances = (await vmm.list()).filter((vm) => vm.appId === appId && vm.status !== "removing");
  const unheld = unheldVersions(hashes, instances);
  if (!vmm.isLocal) {
    for (const hash of unheld)
      say(
        `version ${hash} stays allowed, since instances on other VMMs may have it; where none has: dstack auth deny compose 0x${hash} --app 0x${appId}`,
      );
    return [];
  }
  return policy.change((document) => {
    const left = withdrawVersions(document, appId, unheld);
    return instances.length === 0 ? forgetEmptyApp(left, appId) : left;
  });
}

/** Those of the versions that no instance has; none where one cannot be read. Pure. */
function unheldVersions(hashes: readonly string[], instances: readonly vmm.VmInfo[]): readonly string[] {
  const held = instances.map(versionOf);
  return held.includes(undefined) ? [] : [...new Set(hashes)].filter((hash) => !held.includes(hash));
}
