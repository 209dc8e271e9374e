import { join } from "node:path";
import { toHex } from "@dstack/bytes";
import { ImageError, readImageDirectory, type ImageDirectory } from "@dstack/image";
import { imageDigests } from "../../clients/registry-client.ts";
import type { VmmClient } from "../../clients/vmm-client.ts";
import type { StackLayout } from "../../local/layout.ts";
import { CliError } from "../../terminal/errors.ts";
import { deploymentPolicy } from "./app-policy.ts";
import { encryptEnvironment } from "./environment.ts";
import type { PlanPorts } from "./plan.ts";

/** What deployments of this host are planned from and done with. */
export async function deployPorts(vmm: VmmClient, layout: StackLayout): Promise<PlanPorts> {
  return {
    vmm,
    policy: await deploymentPolicy(layout),
    digests: imageDigests(`http://127.0.0.1:${layout.ports.registry}`),
    osImageHash: async (image) => hashOf(await imageOf(layout, image)),
    imageStorageFs: async (image) => storageFsOf(await imageOf(layout, image)),
    encrypt: (appId, pairs) => encryptEnvironment(vmm, layout, appId, pairs),
  };
}

/** As the KMS will see it, hex. @throws CliError */
function hashOf({ name, osImageHash }: ImageDirectory): string {
  if (osImageHash === undefined) throw new CliError("failed", `image ${name} has no sha256sum.txt and so no hash`);
  return toHex(osImageHash);
}

const storageFsOf = ({ metadata }: ImageDirectory): string | undefined =>
  /(?:^|\s)dstack\.storage_fs=(\S+)/.exec(metadata.cmdline ?? "")?.[1];

/** A guest OS image of this host. @throws CliError */
async function imageOf(layout: StackLayout, name: string): Promise<ImageDirectory> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    throw new CliError("usage", `image name "${name}": expected letters, digits, dots, dashes and underscores`);
  try {
    return await readImageDirectory(join(layout.images, name));
  } catch (cause) {
    if (cause instanceof ImageError)
      throw new CliError("not-found", `image ${name} cannot be used: ${cause.message}`, {
        cause,
        hint: "`dstack image list` shows what is there, `dstack image build` makes one",
      });
    throw cause;
  }
}
