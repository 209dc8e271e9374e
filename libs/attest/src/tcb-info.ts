/** TCB info and QE identity documents of Intel's provisioning service, API version 4. */
import { BytesError, parseHexOfLength, parseJson } from "@dstack/bytes";
import { AttestError } from "./errors.ts";
import { isIntegerIn } from "./numbers.ts";
import { MAX_COMPONENT_SVN, MAX_PCE_SVN } from "./pck-extension.ts";
import { tcbStatus } from "./tcb-status.ts";
import type { TcbStatus } from "./tcb-status.ts";

export interface TcbInfo {
  readonly id: "TDX" | "SGX";
  /** Unix seconds. */
  readonly issueDate: number;
  readonly nextUpdate: number;
  readonly fmspc: Uint8Array;
  readonly pceId: Uint8Array;
  readonly evaluationDataNumber: number;
  /** Highest first, whatever the order of the document. */
  readonly levels: readonly TcbLevel[];
  /** What the 16 components of each kind stand for, where the document says it. */
  readonly components: { readonly sgx: readonly ComponentKind[]; readonly tdx: readonly ComponentKind[] };
  readonly module?: ModuleIdentity;
  readonly moduleIdentities: readonly ModuleIdentity[];
}

export interface TcbLevel extends LevelStatus {
  readonly sgx: readonly number[];
  readonly pceSvn: number;
  /** Only in TDX documents. */
  readonly tdx?: readonly number[];
}

/** In Intel's words: "BIOS" or "OS/VMM", and "Early Microcode Update", "TDX Module" and the like. */
export interface ComponentKind {
  readonly category?: string;
  readonly type?: string;
}

export interface LevelStatus {
  readonly status: TcbStatus;
  /** ISO 8601 text. */
  readonly tcbDate: string;
  readonly advisoryIds: readonly string[];
}

export interface ModuleIdentity {
  /** "TDX_01"; "" for the entry that stands for version 0. */
  readonly id: string;
  readonly mrSigner: Uint8Array;
  readonly attributes: Uint8Array;
  readonly attributesMask: Uint8Array;
  /** Highest first. */
  readonly levels: readonly (LevelStatus & { readonly isvSvn: number })[];
}

export interface QeIdentity {
  readonly id: string;
  readonly version: number;
  readonly issueDate: number;
  readonly nextUpdate: number;
  readonly evaluationDataNumber: number;
  readonly miscSelect: Uint8Array;
  readonly miscSelectMask: Uint8Array;
  readonly attributes: Uint8Array;
  readonly attributesMask: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  /** Highest first. */
  readonly levels: readonly (LevelStatus & { readonly isvSvn: number })[];
}

/** @throws AttestError `collateral-malformed` */
export function parseTcbInfo(text: string): TcbInfo {
  const json = new Fields(readDocument(text, "TCB info"), "TCB info");
  const version = json.number("version");
  // Version 2 knew SGX only and did not say so.
  const id = version === 2 && !json.has("id") ? "SGX" : json.text("id");
  if (!(id === "TDX" && version >= 3) && !(id === "SGX" && version >= 2)) {
    throw malformed(
      `TCB info: id ${id} version ${version}, expected TDX of version 3 or higher, or SGX of 2 or higher`,
    );
  }
  const levels = json.list("tcbLevels").map((level) => parseLevel(level, id, version));
  const module = json.optional("tdxModule");
  return {
    id,
    issueDate: json.time("issueDate"),
    nextUpdate: json.time("nextUpdate"),
    fmspc: json.hex("fmspc", 6),
    pceId: json.hex("pceId", 2),
    evaluationDataNumber: json.number("tcbEvaluationDataNumber"),
    levels: levels.toSorted(compareLevels),
    components: componentsOf(json.list("tcbLevels")[0], version),
    ...(module === undefined ? {} : { module: parseModule(module, "") }),
    moduleIdentities: json.optionalList("tdxModuleIdentities").map((item) => parseModule(item, item.text("id"))),
  };
}

/** @throws AttestError `collateral-malformed` */
export function parseQeIdentity(text: string): QeIdentity {
  const json = new Fields(readDocument(text, "QE identity"), "QE identity");
  return {
    id: json.text("id"),
    version: json.number("version"),
    issueDate: json.time("issueDate"),
    nextUpdate: json.time("nextUpdate"),
    evaluationDataNumber: json.number("tcbEvaluationDataNumber"),
    miscSelect: json.hex("miscselect", 4),
    miscSelectMask: json.hex("miscselectMask", 4),
    attributes: json.hex("attributes", 16),
    attributesMask: json.hex("attributesMask", 16),
    mrSigner: json.hex("mrsigner", 32),
    isvProdId: json.number("isvprodid", MAX_ISV),
    levels: parseIsvLevels(json),
  };
}

function parseLevel(level: Fields, id: "TDX" | "SGX", version: number): TcbLevel {
  const tcb = level.object("tcb");
  const components = (name: string): number[] => {
    const svns = tcb.svns(name);
    if (svns.length !== 16) throw malformed(`TCB level: ${name} holds ${svns.length} components, expected 16`);
    return svns;
  };
  const numbered = (): number[] =>
    Array.from({ length: 16 }, (_, index) =>
      tcb.number(`sgxtcbcomp${String(index + 1).padStart(2, "0")}svn`, MAX_COMPONENT_SVN),
    );
  return {
    sgx: version === 2 ? numbered() : components("sgxtcbcomponents"),
    pceSvn: tcb.number("pcesvn", MAX_PCE_SVN),
    ...(id === "TDX" ? { tdx: components("tdxtcbcomponents") } : {}),
    ...parseStatus(level),
  };
}

/** Every level says the same of a component; the first one is read. */
function componentsOf(level: Fields | undefined, version: number): TcbInfo["components"] {
  const tcb = level?.object("tcb");
  const kinds = (name: string): ComponentKind[] =>
    tcb === undefined || version === 2
      ? []
      : tcb
          .optionalList(name)
          .map((component) => ({ ...component.word("category"), ...component.word("type") }) satisfies ComponentKind);
  return { sgx: kinds("sgxtcbcomponents"), tdx: kinds("tdxtcbcomponents") };
}

function parseModule(module: Fields, id: string): ModuleIdentity {
  return {
    id,
    mrSigner: module.hex("mrsigner", 48),
    attributes: module.hex("attributes", 8),
    attributesMask: module.hex("attributesMask", 8),
    levels: id === "" ? [] : parseIsvLevels(module),
  };
}

function parseIsvLevels(json: Fields): (LevelStatus & { isvSvn: number })[] {
  return json
    .list("tcbLevels")
    .map((level) => ({ isvSvn: level.object("tcb").number("isvsvn", MAX_ISV), ...parseStatus(level) }))
    .toSorted((a, b) => b.isvSvn - a.isvSvn);
}

function parseStatus(level: Fields): LevelStatus {
  return {
    status: tcbStatus(level.text("tcbStatus")),
    tcbDate: level.date("tcbDate"),
    advisoryIds: level.texts("advisoryIDs"),
  };
}

/** SGX components, then PCE SVN, then TDX components, each from high to low. */
function compareLevels(a: TcbLevel, b: TcbLevel): number {
  const left = [...a.sgx, a.pceSvn, ...(a.tdx ?? [])];
  const right = [...b.sgx, b.pceSvn, ...(b.tdx ?? [])];
  for (const [index, value] of left.entries()) {
    const difference = (right[index] ?? 0) - value;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Typed access to a JSON object; every miss names the document and the member. */
class Fields {
  readonly #value: Record<string, unknown>;
  readonly #what: string;

  constructor(value: unknown, what: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(`${what}: not an object`);
    this.#value = value as Record<string, unknown>;
    this.#what = what;
  }

  has(name: string): boolean {
    return this.#value[name] !== undefined;
  }

  text(name: string): string {
    const value = this.#value[name];
    if (typeof value !== "string") throw malformed(`${this.#what}: ${name} is not text`);
    return value;
  }

  /** A short text that only people read; left out where it is none. */
  word<Name extends string>(name: Name): { readonly [Key in Name]?: string } {
    const value = this.#value[name];
    return typeof value === "string" && value.length <= 64 ? ({ [name]: value } as { [Key in Name]?: string }) : {};
  }

  number(name: string, most = Number.MAX_SAFE_INTEGER): number {
    return natural(this.#value[name], most, `${this.#what}: ${name}`);
  }

  hex(name: string, length: number): Uint8Array {
    try {
      return parseHexOfLength(this.text(name), length, name);
    } catch (cause) {
      if (!(cause instanceof BytesError)) throw cause;
      throw new AttestError("collateral-malformed", `${this.#what}: ${cause.message}`, { cause });
    }
  }

  /** The text of an ISO 8601 time with zone. */
  date(name: string): string {
    this.time(name);
    return this.text(name);
  }

  /** Unix seconds of an ISO 8601 time with zone. */
  time(name: string): number {
    const text = this.text(name);
    const milliseconds = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text)
      ? Date.parse(text)
      : Number.NaN;
    if (Number.isNaN(milliseconds)) throw malformed(`${this.#what}: ${name} is not a time`);
    return Math.floor(milliseconds / 1000);
  }

  object(name: string): Fields {
    return new Fields(this.#value[name], `${this.#what} ${name}`);
  }

  optional(name: string): Fields | undefined {
    return this.#value[name] === undefined || this.#value[name] === null ? undefined : this.object(name);
  }

  list(name: string): Fields[] {
    return this.#items(name).map((item: unknown) => new Fields(item, `${this.#what} ${name}`));
  }

  /** The numbers `svn` of a list of objects: there are 32 in every level. */
  svns(name: string): number[] {
    return this.#items(name).map((item: unknown) => {
      const svn: unknown =
        typeof item === "object" && item !== null ? (item as Record<string, unknown>)["svn"] : undefined;
      return natural(svn, MAX_COMPONENT_SVN, `${this.#what} ${name}: svn`);
    });
  }

  optionalList(name: string): Fields[] {
    return this.#value[name] === undefined || this.#value[name] === null ? [] : this.list(name);
  }

  texts(name: string): string[] {
    const value = this.#value[name] ?? [];
    if (!Array.isArray(value) || value.length > 1024 || !value.every((item) => typeof item === "string")) {
      throw malformed(`${this.#what}: ${name} is not a list of texts`);
    }
    return value;
  }

  #items(name: string): unknown[] {
    const value = this.#value[name];
    if (!Array.isArray(value) || value.length > 1024)
      throw malformed(`${this.#what}: ${name} is not a list of at most 1024`);
    return value;
  }
}

/** What an enclave report has two bytes for. */
const MAX_ISV = 0xffff;

function natural(value: unknown, most: number, what: string): number {
  if (!isIntegerIn(value, 0, most)) throw malformed(`${what} is not a natural number of at most ${most}`);
  return value;
}

function readDocument(text: string, what: string): unknown {
  try {
    return parseJson(text, what);
  } catch (cause) {
    throw new AttestError("collateral-malformed", `${what}: not valid JSON`, { cause });
  }
}

const malformed = (text: string): AttestError => new AttestError("collateral-malformed", text);
