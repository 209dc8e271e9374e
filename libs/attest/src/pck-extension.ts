/** The SGX extension of a PCK certificate, 1.2.840.113741.1.13.1: what the platform's key was issued for. */
import {
  DerFields,
  readChildren,
  readDer,
  readEnumerated,
  readOctetString,
  readOid,
  readUnsigned,
  TAG,
} from "@dstack/der";
import type { DerElement } from "@dstack/der";
import type { Certificate } from "./certificate.ts";
import { AttestError } from "./errors.ts";

export interface PckExtension {
  /** 16 bytes that name the platform. */
  readonly ppid: Uint8Array;
  readonly cpuSvn: Uint8Array;
  /** The 16 component SVNs of the CPU, which TCB levels are matched with. */
  readonly tcbComponents: readonly number[];
  readonly pceSvn: number;
  readonly pceId: Uint8Array;
  readonly fmspc: Uint8Array;
  /** 0 standard, 1 scalable, 2 scalable with integrity. */
  readonly sgxType: number;
}

export const SGX_EXTENSION = "1.2.840.113741.1.13.1";

/** @throws AttestError `certificate-malformed`, DerError */
export function readPckExtension(certificate: Certificate): PckExtension {
  const extension = certificate.extensions.get(SGX_EXTENSION);
  if (extension === undefined) throw malformed("no SGX extension");
  const fields = pairs(readDer(extension.value, "SGX extension"));
  const tcb = pairs(required(fields, "2"), ".2");
  const cpuSvn = octets(tcb, "18", 16, ".2");
  return {
    ppid: octets(fields, "1", 16),
    cpuSvn,
    tcbComponents: components(tcb) ?? [...cpuSvn],
    pceSvn: atMost(MAX_PCE_SVN, readUnsigned(required(tcb, "17", ".2"), "PCESVN"), "PCESVN"),
    pceId: octets(fields, "3", 2),
    fmspc: octets(fields, "4", 6),
    sgxType: atMost(MAX_SGX_TYPE, readEnumerated(required(fields, "5"), "SGX type"), "SGX type"),
  };
}

/** Two bytes, and one for each component, wherever Intel names them. */
export const MAX_PCE_SVN = 0xffff;
export const MAX_COMPONENT_SVN = 0xff;
/** Standard, scalable, scalable with integrity. */
const MAX_SGX_TYPE = 2;

function atMost(most: number, value: number, what: string): number {
  if (value > most) throw malformed(`${what} ${value}, expected at most ${most}`);
  return value;
}

/** Arcs .2.1 to .2.16: all of them, or none (development roots), where CPUSVN holds the same numbers. */
function components(tcb: Pairs): number[] | undefined {
  const arcs = Array.from({ length: 16 }, (_, index) => String(index + 1));
  if (!arcs.some((arc) => tcb.has(arc))) return undefined;
  return arcs.map((arc) => {
    const what = `TCB component ${arc}`;
    return atMost(MAX_COMPONENT_SVN, readUnsigned(required(tcb, arc, ".2"), what), what);
  });
}

type Pairs = ReadonlyMap<string, DerElement>;

/** SEQUENCE OF {OID, value}, by the last arc; other arcs are ignored, repeated ones refused. */
function pairs(sequence: DerElement, suffix = ""): Pairs {
  const prefix = `${SGX_EXTENSION}${suffix}.`;
  const found = new Map<string, DerElement>();
  for (const element of readChildren(sequence, "SGX extension")) {
    const fields = new DerFields(element, "SGX extension item");
    const oid = readOid(fields.take("id", TAG.oid));
    const value = fields.take("value");
    fields.end();
    if (!oid.startsWith(prefix)) continue;
    const arc = oid.slice(prefix.length);
    if (found.has(arc)) throw malformed(`${oid} comes twice`);
    found.set(arc, value);
  }
  return found;
}

function required(fields: Pairs, arc: string, suffix = ""): DerElement {
  const value = fields.get(arc);
  if (value === undefined) throw malformed(`${SGX_EXTENSION}${suffix}.${arc} is missing`);
  return value;
}

function octets(fields: Pairs, arc: string, length: number, suffix = ""): Uint8Array {
  const bytes = readOctetString(required(fields, arc, suffix), `SGX extension .${arc}`);
  if (bytes.length !== length) throw malformed(`${suffix}.${arc} has ${bytes.length} bytes, expected ${length}`);
  return bytes;
}

const malformed = (text: string): AttestError => new AttestError("certificate-malformed", `SGX extension: ${text}`);
