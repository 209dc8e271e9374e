/** The terms of the DSDT in the order in which QEMU's q35 machine emits them. */
import { concatBytes } from "@dstack/bytes";
import type { Machine } from "../machine.ts";
import {
  arg,
  derefOf,
  field,
  fieldAccess,
  fieldUpdate,
  increment,
  index,
  ioPort,
  less,
  local,
  loop,
  method,
  device,
  name,
  nothing,
  operationRegion,
  packageOf,
  regionSpace,
  resourceTemplate,
  scope,
  sizeOf,
  store,
  subtract,
  text,
  toBuffer,
  toHexString,
} from "./aml.ts";
import type { Term } from "./aml.ts";
import { cpuHotplug, cpuScanEvent } from "./dsdt-cpu.ts";
import { interruptLinks, interruptMode } from "./dsdt-interrupts.ts";
import { expanderBus, hostBridge, pciDevices, pciHotplug, pciWindows } from "./dsdt-pci.ts";

/** The body of the DSDT, without its table header. */
export function dsdtBody(machine: Machine): Uint8Array {
  return concatBytes(
    debugPort(),
    hostBridge(machine),
    machine.hotplug ? pciHotplug(machine.acpi) : nothing,
    interruptMode(),
    interruptLinks(machine.acpi),
    scope("_GPE", name("_HID", text("ACPI0006"))),
    cpuHotplug(machine),
    cpuScanEvent(),
    ...machine.expanders.toReversed().map(expanderBus),
    pciWindows(machine),
    sleepStates(),
    firmwareConfig(),
    pciDevices(machine),
    machine.hotplug ? scope("_GPE", method("_E01", 0)) : nothing,
  );
}

/** Writes a value as hex text to the debug console at port 0x402. */
function debugPort(): Term {
  return scope(
    "\\",
    operationRegion("DBG_", regionSpace.systemIo, 0x402, 1),
    field("DBG_", { access: fieldAccess.byte, update: fieldUpdate.preserve }, ["DBGB", 8]),
    method(
      "DBUG",
      1,
      toHexString(arg(0), local(0)),
      toBuffer(local(0), local(0)),
      subtract(sizeOf(local(0)), 1, local(1)),
      store(0, local(2)),
      loop(less(local(2), local(1)), store(derefOf(index(local(0), local(2))), "DBGB"), increment(local(2))),
      store(0x0a, "DBGB"),
    ),
  );
}

function sleepStates(): Term {
  return scope(
    "\\",
    name("_S3", packageOf(1, 1, 0, 0)),
    name("_S4", packageOf(2, 2, 0, 0)),
    name("_S5", packageOf(0, 0, 0, 0)),
  );
}

function firmwareConfig(): Term {
  return scope(
    "\\_SB.PCI0",
    device(
      "FWCF",
      name("_HID", text("QEMU0002")),
      name("_STA", 0x0b),
      name("_CRS", resourceTemplate(ioPort(0x510, 1, 0x0c))),
    ),
  );
}
