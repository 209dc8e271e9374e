/** The ICH9 functions in slot 0x1f: ISA bridge with its legacy devices, SATA, SMBus. */
import type { AcpiProfile } from "../qemu-profile.ts";
import {
  device,
  eisaId,
  field,
  fieldAccess,
  fieldUpdate,
  ioPort,
  irq,
  name,
  operationRegion,
  regionSpace,
  resourceTemplate,
  scope,
} from "./aml.ts";
import type { Term } from "./aml.ts";
import { pciFunction } from "./pci-function.ts";

const SLOT = 0x1f;
/** Level, active high, shared. */
const SERIAL_IRQ_FLAGS = 0x18;

export function chipsetDevices(profile: AcpiProfile): readonly Term[] {
  return [pciFunction(SLOT, 0, ...isaBridge(profile)), pciFunction(SLOT, 2), pciFunction(SLOT, 3)];
}

function isaBridge(profile: AcpiProfile): readonly Term[] {
  return [
    operationRegion("PIRQ", regionSpace.pciConfig, 0x60, 0x0c),
    scope(
      "\\_SB",
      field(
        "PCI0.SF8.PIRQ",
        { access: fieldAccess.byte, update: fieldUpdate.preserve },
        ["PRQA", 8],
        ["PRQB", 8],
        ["PRQC", 8],
        ["PRQD", 8],
        ["", 32],
        ["PRQE", 8],
        ["PRQF", 8],
        ["PRQG", 8],
        ["PRQH", 8],
      ),
    ),
    legacy("KBD", "PNP0303", ioPort(0x60, 1, 1), ioPort(0x64, 1, 1), irq(1)),
    legacy("MOU", "PNP0F13", irq(12)),
    device(
      "COM1",
      name("_HID", eisaId("PNP0501")),
      name("_UID", 1),
      name("_STA", 0x0f),
      name(
        "_CRS",
        resourceTemplate(ioPort(0x3f8, 0, 8), irq(4, profile.serialIrqFlags ? SERIAL_IRQ_FLAGS : undefined)),
      ),
    ),
    device("RTC", name("_HID", eisaId("PNP0B00")), name("_CRS", resourceTemplate(ioPort(0x70, 1, 8), irq(8)))),
  ];
}

function legacy(deviceName: string, id: string, ...resources: readonly Term[]): Term {
  return device(deviceName, name("_HID", eisaId(id)), name("_STA", 0x0f), name("_CRS", resourceTemplate(...resources)));
}
