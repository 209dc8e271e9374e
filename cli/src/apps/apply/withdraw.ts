import type { PolicyLine } from "@dstack/governance";
import type { vmm } from "@dstack/proto";
import { forgetEmptyApp, withdrawVersions } from "../../auth/policy-file.ts";
import type { VmmClient } from "../../clients/vmm-client.ts";
import type { AppPolicy } from "../plan/app-policy.ts";
import { versionOf } from "../plan/manifest.ts";

/**
 * Takes versions off the policy, but none that an instance of the app still has: it could not boot again. An app
 * without any instance and any version left is forgotten. Gives the differences.
 * @param hashes compose hashes, hex
 */
export async function withdraw(
  { vmm, policy }: { readonly vmm: VmmClient; readonly policy: AppPolicy },
  appId: string,
  hashes: readonly string[],
): Promise<readonly PolicyLine[]> {
  const instances = (await vmm.list()).filter((vm) => vm.appId === appId && vm.status !== "removing");
  const unheld = unheldVersions(hashes, instances);
  return policy.change((document) => {
    const left = withdrawVersions(document, appId, unheld);
    return instances.length === 0 ? forgetEmptyApp(left, appId) : left;
  });
}

/** Those of the versions that no instance has; none where one cannot be read. Pure. */
function unheldVersions(hashes: readonly string[], instances: readonly vmm.VmInfo[]): readonly string[] {
  const held = instances.map(versionOf);
  return held.includes(undefined) ? [] : hashes.filter((hash) => !held.includes(hash));
}
