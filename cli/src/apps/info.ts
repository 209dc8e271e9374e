import { vmm } from "@dstack/proto";
import { messageToJson } from "@dstack/rpc";
import type { Cli } from "../clients/cli.ts";
import { visible } from "../terminal/output.ts";
import type { InfoOptions } from "./options.ts";

/** `dstack info APP` */
export async function info(cli: Cli, app: string, { output }: InfoOptions): Promise<void> {
  const { json, print } = cli.out;
  const vm = await (await cli.vmm()).find(app);
  if (output === "json") {
    json(messageToJson(vmm.VmInfoSchema, vm));
    return;
  }
  const rows: [string, string | undefined][] = [
    ["name", vm.name],
    ["status", vm.status],
    ["boot", vm.bootProgress],
    ["boot error", vm.bootError],
    ["uptime", vm.uptime],
    ["exited at", vm.exitedAt],
    ["app URL", vm.appUrl],
    ["app id", vm.appId],
    ["instance id", vm.instanceId],
    ["vm id", vm.id],
    ["image", `${vm.configuration?.image ?? ""} (${vm.imageVersion})`],
    [
      "size",
      `${vm.configuration?.vcpu} vCPU, ${vm.configuration?.memory} MiB memory, ${vm.configuration?.diskSize} GiB disk`,
    ],
    [
      "ports",
      vm.configuration?.ports
        .map((port) => `${port.protocol} ${port.hostAddress}:${port.hostPort} -> ${port.vmPort}`)
        .join(", "),
    ],
  ];
  for (const [name, value] of rows)
    if (value !== undefined && value !== "") print(`${`${name}:`.padEnd(13)}${visible(value)}`);
  if (vm.events.length > 0) {
    print("events:");
    for (const event of vm.events.slice(-20))
      print(`  ${new Date(Number(event.timestamp)).toISOString()}  ${visible(event.event)}  ${visible(event.body)}`);
  }
}
