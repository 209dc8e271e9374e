/** The PCI root: host bridge, hotplug registers, address windows, expanders and the device list. */
import type { Machine, PciExpander } from "../machine.ts";
import { lowMemoryBytes } from "../machine.ts";
import type { AcpiProfile } from "../qemu-profile.ts";
import {
  acquire,
  and,
  arg,
  buffer,
  busRange,
  caching,
  call,
  createDwordField,
  derefOf,
  device,
  eisaId,
  eitherOf,
  equal,
  field,
  fieldAccess,
  fieldUpdate,
  index,
  ioPort,
  ioRange,
  less,
  local,
  memoryRange32,
  memoryRange64,
  method,
  mutex,
  name,
  not,
  notEqual,
  nothing,
  operationRegion,
  or,
  otherwise,
  packageOf,
  regionSpace,
  release,
  resourceTemplate,
  returns,
  scope,
  serializedMethod,
  shiftLeft,
  sizedPackage,
  store,
  text,
  uuid,
  when,
} from "./aml.ts";
import type { Term } from "./aml.ts";
import { chipsetDevices } from "./dsdt-chipset.ts";
import { routeTable } from "./dsdt-interrupts.ts";
import { hexByte, pciFunction } from "./pci-function.ts";

/** PCI firmware specification: what the OS may control on a host bridge. */
const OSC_UUID = "33db4d5b-1ff7-401c-9657-7441c03dd766";
/** PCI firmware specification: device-specific method of a slot. */
const DSM_UUID = "e5c937d0-3553-4d7a-9117-ea4d19c3434d";
const OSC_ALL = 0x1f;
/** Without native PCIe hotplug: ACPI does it. */
const OSC_ACPI_HOTPLUG = 0x1e;

const MMCONFIG = [0xe000_0000, 0xefff_ffff] as const;
const LAST_MEMORY32 = 0xfebf_ffff;
const WINDOW64_BASE = 0x3800_0000_0000n;
const DEFAULT_WINDOW64_BYTES = 0x8_0000_0000n;
const ALL_ONES = 0xffff_ffff;

export function hostBridge(machine: Machine): Term {
  return scope(
    "_SB",
    device(
      "PCI0",
      name("_HID", eisaId("PNP0A08")),
      name("_CID", eisaId("PNP0A03")),
      name("_UID", 0),
      operatingSystemCapabilities(machine.hotplug ? OSC_ACPI_HOTPLUG : OSC_ALL),
      endpointDsm(),
    ),
    device(
      "DRAC",
      name("_HID", text("PNP0C01")),
      name("_CRS", resourceTemplate(memoryRange32(...MMCONFIG, caching.none))),
    ),
  );
}

/** `_OSC`: masks what the OS asks for, and says so in the first word when it got less. */
function operatingSystemCapabilities(granted: number): Term {
  return method(
    "_OSC",
    4,
    createDwordField(arg(3), 0, "CDW1"),
    when(
      equal(arg(0), uuid(OSC_UUID)),
      createDwordField(arg(3), 4, "CDW2"),
      createDwordField(arg(3), 8, "CDW3"),
      store("CDW3", local(0)),
      and(local(0), granted, local(0)),
      when(notEqual(arg(1), 1), or("CDW1", 0x08, "CDW1")),
      when(notEqual("CDW3", local(0)), or("CDW1", 0x10, "CDW1")),
      store(local(0), "CDW3"),
    ),
    otherwise(or("CDW1", 0x04, "CDW1")),
    returns(arg(3)),
  );
}

/** Function 0 of a slot's `_DSM` answers which functions exist; other UUIDs and old revisions get none. */
const refuseForeignDsm = (): readonly Term[] => [
  store(buffer(Uint8Array.of(0)), local(0)),
  when(notEqual(arg(0), uuid(DSM_UUID)), returns(local(0))),
  when(less(arg(1), 2), returns(local(0))),
];

function endpointDsm(): Term {
  return serializedMethod(
    "EDSM",
    5,
    when(equal(arg(2), 0), ...refuseForeignDsm(), store(0x81, index(local(0), 0)), returns(local(0))),
    when(
      equal(arg(2), 7),
      store(packageOf(0, text("")), local(0)),
      store(derefOf(index(arg(4), 0)), local(1)),
      store(local(1), index(local(0), 0)),
      returns(local(0)),
    ),
  );
}

/** The ACPI PCI hotplug registers at 0xcc0 and the methods that every slot shares. */
export function pciHotplug(profile: AcpiProfile): Term {
  const flags = { access: fieldAccess.dword, update: fieldUpdate.writeAsZeros };
  return scope(
    "_SB.PCI0",
    operationRegion("PCST", regionSpace.systemIo, 0xcc0, 8),
    field("PCST", flags, ["PCIU", 32], ["PCID", 32]),
    operationRegion("SEJ_", regionSpace.systemIo, 0xcc8, 4),
    field("SEJ_", flags, ["B0EJ", 32]),
    operationRegion("BNMR", regionSpace.systemIo, 0xcd0, 8),
    field("BNMR", flags, ["BNUM", 32], ["PIDX", 32]),
    mutex("BLCK"),
    method(
      "PCEJ",
      2,
      acquire("BLCK"),
      store(arg(0), "BNUM"),
      store(shiftLeft(1, arg(1)), "B0EJ"),
      release("BLCK"),
      returns(0),
    ),
    method(
      "AIDX",
      2,
      acquire("BLCK"),
      store(arg(0), "BNUM"),
      store(shiftLeft(1, arg(1)), "PIDX"),
      store("PIDX", local(0)),
      release("BLCK"),
      returns(local(0)),
    ),
    slotDsm(profile),
  );
}

/** `PDSM`: asks the hotplug controller for the slot's ACPI index. */
function slotDsm(profile: AcpiProfile): Term {
  const askIndex = store(call("AIDX", derefOf(index(arg(4), 0)), derefOf(index(arg(4), 1))), local(2));
  const noDevice = [equal(local(2), 0), equal(local(2), ALL_ONES)] as const;
  const answerIndex = profile.dsmChecksSlot
    ? [
        askIndex,
        store(sizedPackage(2), local(0)),
        when(not(eitherOf(...noDevice)), store(local(2), index(local(0), 0)), store(text(""), index(local(0), 1))),
      ]
    : [store(packageOf(0, text("")), local(0)), askIndex, store(local(2), index(local(0), 0))];
  return serializedMethod(
    "PDSM",
    5,
    when(
      equal(arg(2), 0),
      ...refuseForeignDsm(),
      store(0, local(1)),
      askIndex,
      when(not(or(...noDevice)), or(local(1), 1, local(1)), or(local(1), shiftLeft(1, 7), local(1))),
      store(local(1), index(local(0), 0)),
      returns(local(0)),
    ),
    when(equal(arg(2), 7), ...answerIndex, returns(local(0))),
  );
}

/** The root bus of one NUMA node's expander. */
export function expanderBus(expander: PciExpander): Term {
  return scope(
    "\\_SB",
    device(
      `PC${hexByte(expander.bus)}`,
      name("_UID", expander.bus),
      name("_BBN", expander.bus),
      name("_HID", eisaId("PNP0A08")),
      name("_CID", eisaId("PNP0A03")),
      operatingSystemCapabilities(OSC_ALL),
      name("_PXM", expander.node),
      method("_PRT", 0, returns(routeTable((slot, pin) => `LNK${"ABCD"[(slot + pin + 3) & 3]}`))),
      name("_CRS", resourceTemplate(busRange(expander.bus, expander.bus))),
    ),
  );
}

/** Address windows of the root bus, and the I/O ports that belong to the chipset. */
export function pciWindows(machine: Machine): Term {
  const lastBus = Math.min(255, ...machine.expanders.map(({ bus }) => bus - 1));
  const window64 = machine.pciHole64Bytes > 0 ? BigInt(machine.pciHole64Bytes) : DEFAULT_WINDOW64_BYTES;
  const ports = (deviceName: string, uid: string, base: number, length: number): Term =>
    device(
      deviceName,
      name("_HID", text("PNP0A06")),
      name("_UID", text(uid)),
      name("_STA", 0x0b),
      name("_CRS", resourceTemplate(ioPort(base, 1, length))),
    );
  return scope(
    "\\_SB.PCI0",
    name(
      "_CRS",
      resourceTemplate(
        busRange(0, lastBus),
        ioPort(0xcf8, 1, 8),
        ioRange(0x0000, 0x0cf7),
        ioRange(0x0d00, 0xffff),
        memoryRange32(0x000a_0000, 0x000b_ffff, caching.full),
        memoryRange32(lowMemoryBytes(machine.memoryBytes), MMCONFIG[0] - 1, caching.none),
        memoryRange32(MMCONFIG[1] + 1, LAST_MEMORY32, caching.none),
        memoryRange64(WINDOW64_BASE, window64),
      ),
    ),
    ports("GPE0", "GPE0 resources", 0x620, 0x10),
    machine.hotplug ? ports("PHPR", "PCI Hotplug resources", 0xcc0, 0x18) : nothing,
  );
}

/** One object per function on the root bus, by ascending number: devices, expanders, root ports, chipset. */
export function pciDevices(machine: Machine): Term {
  const rootPorts = new Set(machine.rootPortSlots);
  const plain = Array.from({ length: machine.deviceSlots }, (_, slot) => slot);
  const slots = [...plain, ...machine.expanders.map(({ slot }) => slot), ...rootPorts].sort((a, b) => a - b);
  const downstream = device("S00", name("_ADR", 0));
  return scope(
    "\\_SB",
    scope(
      "PCI0",
      ...slots.map((slot) => pciFunction(slot, 0, rootPorts.has(slot) ? downstream : nothing)),
      ...chipsetDevices(machine.acpi),
    ),
  );
}
