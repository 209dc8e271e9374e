import { readTail } from "../logs/log-reader.ts";
import type { SupervisedProcess } from "../supervisor/supervisor-client.ts";
import type { Vm } from "./vm.ts";

const TAIL_BYTES = 8 * 1024;

/** How QEMU ended, with the last it said in this run: what an operator needs to know first. */
export async function exitReason(
  vm: Pick<Vm, "folder">,
  status: SupervisedProcess["state"]["status"],
): Promise<string> {
  const said =
    (await readTail(vm.folder.file.stderrLog, TAIL_BYTES).catch(() => "")).split(/^===== boot @ .* =====$/m).pop() ??
    "";
  const lines = said
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .slice(-4);
  return [`the virtual machine ended ${howEnded(status)}`, ...lines].join(": ");
}

function howEnded(status: SupervisedProcess["state"]["status"]): string {
  if (typeof status === "string") return "";
  if ("error" in status) return `(${status.error})`;
  const signal = status.exited & 0x7f;
  return signal === 0 ? `with code ${status.exited >> 8}` : `by signal ${signal}`;
}
