/** CPU hotplug: the register block, the methods that work it, and one object per CPU. */
import { concatBytes } from "@dstack/bytes";
import type { Machine } from "../machine.ts";
import type { AcpiProfile } from "../qemu-profile.ts";
import {
  acquire,
  arg,
  bothOf,
  buffer,
  call,
  debugObject,
  derefOf,
  device,
  eisaId,
  eitherOf,
  equal,
  field,
  fieldAccess,
  fieldUpdate,
  increment,
  index,
  ioPort,
  leaveLoop,
  less,
  local,
  loop,
  method,
  mutex,
  name,
  nothing,
  notify,
  operationRegion,
  otherwise,
  processor,
  regionSpace,
  release,
  resourceTemplate,
  returns,
  scope,
  serializedMethod,
  sizedPackage,
  store,
  text,
  when,
} from "./aml.ts";
import type { Operand, Term } from "./aml.ts";
import { madtCpu } from "./madt.ts";

const BLOCK_BASE = 0xcd8;
const BLOCK_LENGTH = 12;
/** Entries of one scan before it starts over. */
const SCAN_ENTRIES = 255;
const DEVICE_CHECK = 1;
const EJECT_REQUEST = 3;
/** CPUs from this id on are devices: a Processor object's id is one byte. */
const FIRST_X2APIC_CPU = 255;

const register = (unit: string): string => `\\_SB.PCI0.PRES.${unit}`;
const lock = acquire(register("CPLK"));
const unlock = release(register("CPLK"));
const select = (cpu: Operand): Term => store(cpu, register("CSEL"));

/** Everything about CPUs under `\_SB`. */
export function cpuHotplug(machine: Machine): Term {
  return scope("_SB", registerBlock(machine.acpi), cpuContainer(machine));
}

/** General purpose event 2: a CPU came or wants to go. */
export function cpuScanEvent(): Term {
  return method("\\_GPE._E02", 0, call("\\_SB.CPUS.CSCN"));
}

function registerBlock(profile: AcpiProfile): Term {
  return device(
    "\\_SB.PCI0.PRES",
    name("_HID", eisaId("PNP0A06")),
    name("_UID", text("CPU Hotplug resources")),
    mutex("CPLK"),
    name("_CRS", resourceTemplate(ioPort(BLOCK_BASE, 1, BLOCK_LENGTH))),
    operationRegion("PRST", regionSpace.systemIo, BLOCK_BASE, BLOCK_LENGTH),
    field(
      "PRST",
      { access: fieldAccess.byte, update: fieldUpdate.writeAsZeros },
      ["", 32],
      ["CPEN", 1],
      ["CINS", 1],
      ["CRMV", 1],
      ["CEJ0", 1],
      ["CEJF", 1],
      ["", 3],
      ["CCMD", 8],
    ),
    field("PRST", { access: fieldAccess.dword, update: fieldUpdate.preserve }, ["CSEL", 32], ["", 32], ["CDAT", 32]),
    profile.cpuSelectorReset ? serializedMethod("_INI", 0, store(0, "CSEL")) : nothing,
  );
}

function cpuContainer(machine: Machine): Term {
  const cpus = Array.from({ length: machine.cpuCount }, (_, i) => i);
  return device(
    "\\_SB.CPUS",
    name("_HID", text("ACPI0010")),
    name("_CID", eisaId("PNP0A05")),
    method("CTFY", 2, ...cpus.map((cpu) => when(equal(arg(0), cpu), notify(cpuName(cpu), arg(1))))),
    statusMethod(),
    ejectMethod(),
    scanMethod(machine),
    ospmStatusMethod(),
    ...cpus.map((cpu) => cpuObject(cpu, machine)),
  );
}

function statusMethod(): Term {
  return serializedMethod(
    "CSTA",
    1,
    lock,
    select(arg(0)),
    store(0, local(0)),
    when(equal(register("CPEN"), 1), store(0x0f, local(0))),
    unlock,
    returns(local(0)),
  );
}

function ejectMethod(): Term {
  return serializedMethod("CEJ0", 1, lock, select(arg(0)), store(1, register("CEJ0")), unlock);
}

/** `_OST` of a CPU: event and status go back through commands 1 and 2. */
function ospmStatusMethod(): Term {
  return serializedMethod(
    "COST",
    4,
    lock,
    select(arg(0)),
    store(1, register("CCMD")),
    store(arg(1), register("CDAT")),
    store(2, register("CCMD")),
    store(arg(2), register("CDAT")),
    unlock,
  );
}

/**
 * Collects up to 255 new CPUs (and, in newer QEMU, as many that want to go), reports them,
 * and starts over while the lists were full.
 *
 * Local0: something found · 1: new · 2: reported · 3: CPU · 4: again · 5: leaving
 */
function scanMethod(machine: Machine): Term {
  const [found, newCount, reported, cpu, again, leavingCount] = [0, 1, 2, 3, 4, 5].map(local) as [
    Term,
    Term,
    Term,
    Term,
    Term,
    Term,
  ];
  const ejectList = machine.acpi.cpuEjectList;
  const newListFull = equal(newCount, SCAN_ENTRIES);
  const full = ejectList ? eitherOf(newListFull, equal(leavingCount, SCAN_ENTRIES)) : newListFull;

  const reportNow = concatBytes(call("CTFY", cpu, EJECT_REQUEST), store(1, register("CRMV")), store(1, found));
  const remember = concatBytes(store(cpu, index("CEJL", leavingCount)), increment(leavingCount), store(1, found));
  const removal = ejectList
    ? when(equal(register("CRMV"), 1), remember)
    : otherwise(when(equal(register("CRMV"), 1), reportNow));

  const collect = loop(
    bothOf(equal(found, 1), less(cpu, machine.cpuCount)),
    store(0, found),
    select(cpu),
    store(0, register("CCMD")),
    when(less(register("CDAT"), cpu), leaveLoop),
    when(full, store(1, again), leaveLoop),
    store(register("CDAT"), cpu),
    when(equal(register("CINS"), 1), store(cpu, index("CNEW", newCount)), increment(newCount), store(1, found)),
    removal,
    increment(cpu),
  );
  const reportNew = loop(
    less(reported, newCount),
    store(derefOf(index("CNEW", reported)), cpu),
    call("CTFY", cpu, DEVICE_CHECK),
    store(cpu, debugObject),
    select(cpu),
    store(1, register("CINS")),
    increment(reported),
  );
  const reportLeaving = loop(
    less(reported, leavingCount),
    store(derefOf(index("CEJL", reported)), cpu),
    call("CTFY", cpu, EJECT_REQUEST),
    select(cpu),
    store(1, register("CRMV")),
    increment(reported),
  );
  return serializedMethod(
    "CSCN",
    0,
    lock,
    name("CNEW", sizedPackage(SCAN_ENTRIES)),
    ejectList ? name("CEJL", sizedPackage(SCAN_ENTRIES)) : nothing,
    store(0, cpu),
    store(1, again),
    loop(
      equal(again, 1),
      store(0, again),
      store(1, found),
      store(0, newCount),
      ejectList ? store(0, leavingCount) : nothing,
      collect,
      store(0, reported),
      reportNew,
      ejectList ? concatBytes(store(0, reported), reportLeaving) : nothing,
    ),
    unlock,
  );
}

function cpuObject(cpu: number, machine: Machine): Term {
  const body = [
    serializedMethod("_STA", 0, returns(call("CSTA", cpu))),
    name("_MAT", buffer(madtCpu(cpu))),
    cpu === 0 ? nothing : method("_EJ0", 1, call("CEJ0", cpu)),
    serializedMethod("_OST", 3, call("COST", cpu, arg(0), arg(1), arg(2))),
    machine.numaNodes === 0 ? nothing : name("_PXM", Math.floor(cpu / (machine.cpuCount / machine.numaNodes))),
  ];
  if (cpu < FIRST_X2APIC_CPU) return processor(cpuName(cpu), cpu, ...body);
  return device(cpuName(cpu), name("_HID", text("ACPI0007")), name("_UID", cpu), ...body);
}

const cpuName = (cpu: number): string => `C${cpu.toString(16).toUpperCase().padStart(3, "0")}`;
