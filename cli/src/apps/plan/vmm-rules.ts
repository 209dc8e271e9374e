import { vmmMethods, type VmmClient } from "../../clients/vmm-client.ts";
import { CliError } from "../../terminal/errors.ts";
import { machineChanges, portText, type MachinePlan } from "./machine.ts";

/** What a VMM tells of its limits. */
export interface VmmRules {
  readonly mapsPorts: boolean;
  /** Of all VMs together; 0 where the VMM does not say. */
  readonly maxVcpu: number;
  readonly maxMemoryMib: number;
}

/** As the VMM holds names to: `checkName` of services/vmm. */
const NAME = /^[A-Za-z0-9\-_. @~!$^()]{1,128}$/;
const MIN_MEMORY_MIB = 512;

export async function vmmRules(vmm: VmmClient): Promise<VmmRules> {
  const { portMappingEnabled } = await vmm.call(vmmMethods.status, { brief: true, page: 1, pageSize: 1 });
  const { resources } = await vmm.call(vmmMethods.getMeta, {});
  return {
    mapsPorts: portMappingEnabled,
    maxVcpu: resources?.maxAllocableVcpu ?? 0,
    maxMemoryMib: resources?.maxAllocableMemoryInMb ?? 0,
  };
}

/** Refuses what the VMM is known to refuse, before anything is changed. Pure. @throws CliError `usage` */
export function refuseWhatVmmRefuses(name: string, { wanted, present }: MachinePlan, rules: VmmRules): void {
  const refuse = (text: string, hint: string): never => {
    throw new CliError("usage", text, { hint: `nothing was deployed; ${hint}` });
  };
  const { vcpu, memoryMib, ports } = wanted;
  if (!NAME.test(name) || name.trim() !== name)
    refuse(
      `${JSON.stringify(name.slice(0, 80))} is no name for an app`,
      "take 1 to 128 of A-Z a-z 0-9 - _ . @ ~ ! $ ^ ( ) and inner spaces",
    );
  if (memoryMib < MIN_MEMORY_MIB)
    refuse(`${memoryMib} MiB memory are too little to boot`, `give at least --memory ${MIN_MEMORY_MIB}`);
  if (rules.maxVcpu > 0 && vcpu > rules.maxVcpu)
    refuse(`${vcpu} vCPU are more than the VMM gives, which is ${rules.maxVcpu}`, "give fewer with --vcpu");
  if (rules.maxMemoryMib > 0 && memoryMib > rules.maxMemoryMib)
    refuse(
      `${memoryMib} MiB memory are more than the VMM gives, which is ${rules.maxMemoryMib}`,
      "give less with --memory",
    );
  const [port] = ports;
  const changesPorts = present === undefined || machineChanges(wanted, present)?.fields.ports !== undefined;
  if (port !== undefined && changesPorts && !rules.mapsPorts)
    refuse(
      `port ${portText(port)} cannot be mapped: the VMM maps no ports`,
      "leave -p away, or enable cvm.port_mapping of the VMM",
    );
}

/** @throws CliError `usage` where the image cannot make the data disk that is asked for */
export function refuseOtherFileSystem(image: string, offered: string | undefined, wanted: string | undefined): void {
  if (offered === undefined || wanted === undefined || offered === wanted) return;
  throw new CliError("usage", `image ${image} has data disks of ${offered}, not ${wanted}`, {
    hint: `nothing was deployed; give --storage-fs ${offered}, or another --image`,
  });
}

/** What the VMM alone knows, for people: it may still refuse. Pure. */
export function notChecked({ wanted }: MachinePlan): readonly string[] {
  return [
    "whether vCPU and memory are free beside the VMs that run",
    ...wanted.ports.map(
      (port) => `whether the VMM allows port ${portText(port)} by its range, and no program of the host has it`,
    ),
  ];
}
