/** PCI interrupt routing: the mode that the OS announces, 128 routes for each mode, and the links they end in. */
import { concatBytes } from "@dstack/bytes";
import type { AcpiProfile } from "../qemu-profile.ts";
import {
  and,
  arg,
  call,
  createDwordField,
  device,
  eisaId,
  equal,
  interrupts,
  method,
  name,
  or,
  otherwise,
  packageOf,
  resourceTemplate,
  returns,
  scope,
  serializedMethod,
  store,
  when,
} from "./aml.ts";
import type { Term } from "./aml.ts";

const LINKS = ["A", "B", "C", "D", "E", "F", "G", "H"] as const;
const LEGACY_LINES = [5, 10, 11];
const FIRST_GSI = 16;
const LEVEL = 0x09;
const EDGE = 0x0b;

/** `_PIC`: the OS says whether it uses the 8259 (0) or the I/O APIC (1). */
export function interruptMode(): Term {
  return concatBytes(name("PICF", 0), method("_PIC", 1, store(arg(0), "PICF")));
}

export function interruptLinks(profile: AcpiProfile): Term {
  const flags = profile.levelTriggeredLinks ? LEVEL : EDGE;
  return scope(
    "_SB",
    scope(
      "PCI0",
      name("PRTP", routes("LNK")),
      name("PRTA", routes("GSI")),
      method("_PRT", 0, when(equal("PICF", 0), returns("PRTP")), otherwise(returns("PRTA"))),
    ),
    linkStatus(),
    linkResources(flags),
    ...LINKS.map((letter, i) => legacyLink(letter, i, flags)),
    ...LINKS.map((letter, i) => fixedLink(letter, FIRST_GSI + i, flags)),
  );
}

/** A route per slot and pin: `[slot << 16 | any function, pin, link, 0]`. */
export function routeTable(linkOf: (slot: number, pin: number) => string): Term {
  const entries: Term[] = [];
  for (let slot = 0; slot < 32; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      entries.push(packageOf(slot * 0x1_0000 + 0xffff, pin, linkOf(slot, pin), 0));
    }
  }
  return packageOf(...entries);
}

function routes(prefix: "LNK" | "GSI"): Term {
  return routeTable((slot, pin) => {
    const lowHalf = (slot >= 0x19 && slot <= 0x1d) || slot === 0x1f;
    const head = slot < 0x18 ? slot & 3 : 0;
    return prefix + LINKS[(lowHalf ? 0 : 4) + ((head + pin) % 4)];
  });
}

/** Bit 7 of a routing register disables the link. */
function linkStatus(): Term {
  return method("IQST", 1, when(and(0x80, arg(0)), returns(0x09)), returns(0x0b));
}

function linkResources(flags: number): Term {
  return serializedMethod(
    "IQCR",
    1,
    name("PRR0", resourceTemplate(interrupts(flags, 0))),
    createDwordField("PRR0", 5, "PRRI"),
    store(and(arg(0), 0x0f), "PRRI"),
    returns("PRR0"),
  );
}

function legacyLink(letter: string, uid: number, flags: number): Term {
  const register = `PRQ${letter}`;
  return device(
    `LNK${letter}`,
    name("_HID", eisaId("PNP0C0F")),
    name("_UID", uid),
    name("_PRS", resourceTemplate(interrupts(flags, ...LEGACY_LINES))),
    method("_STA", 0, returns(call("IQST", register))),
    method("_DIS", 0, or(register, 0x80, register)),
    method("_CRS", 0, returns(call("IQCR", register))),
    method("_SRS", 1, createDwordField(arg(0), 5, "PRRI"), store("PRRI", register)),
  );
}

function fixedLink(letter: string, gsi: number, flags: number): Term {
  return device(
    `GSI${letter}`,
    name("_HID", eisaId("PNP0C0F")),
    name("_UID", gsi),
    name("_PRS", resourceTemplate(interrupts(flags, gsi))),
    name("_CRS", resourceTemplate(interrupts(flags, gsi))),
    method("_DIS", 0),
    method("_SRS", 1),
  );
}
