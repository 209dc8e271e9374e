import { vmm } from "@dstack/proto";
import { messageToJson } from "@dstack/rpc";
import type { Cli } from "../clients/cli.ts";
import { table } from "../terminal/output.ts";
import type { AppsOptions } from "./options.ts";

/** `dstack apps` */
export async function apps(cli: Cli, { output }: AppsOptions): Promise<void> {
  const { json, print } = cli.out;
  const list = await (await cli.vmm()).list();
  if (output === "json") {
    json(list.map((vm) => messageToJson(vmm.VmInfoSchema, vm)));
    return;
  }
  if (list.length === 0) {
    print("no apps; deploy one with `dstack deploy -c docker-compose.yaml -n NAME`");
    return;
  }
  print(
    table(
      ["NAME", "STATUS", "BOOT", "UPTIME", "APP ID", "VM ID"],
      list.map((vm) => [
        vm.name,
        vm.status,
        vm.bootError === "" ? vm.bootProgress : "refused",
        vm.uptime,
        vm.appId,
        vm.id,
      ]),
    ),
  );
}
