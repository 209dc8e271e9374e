/**
 * The one reader of compose files: bytes in, a `ComposeFile` out, read as docker compose 2.26.1
 * of the guest image reads it. All questions (images, ports, powers, findings) are functions of
 * that value. Nothing here judges, nothing here writes, no other file is opened.
 */
import { ComposeError } from "../errors.ts";
import { extendServices } from "./extends.ts";
import type { Variables } from "./interpolate.ts";
import { mergeMaps, withoutResets } from "./merge.ts";
import {
  expandedSize,
  itemsOf,
  memberOf,
  membersOf,
  textOf,
  type ComposeNode,
  type MapNode,
  type Place,
  type ScalarNode,
} from "./node.ts";
import { readYaml, type MissingVariable } from "./read-yaml.ts";

/** Most bytes of a docker-compose.yaml, so that the worst is read in about a second; what is larger belongs into an image. */
export const COMPOSE_FILE_MAX_BYTES = 512 * 1024;
/** Most values with every alias written out; files that people write have a few thousand. */
const MAX_EXPANDED_VALUES = 1_000_000;
/** Most documents of one file: each is laid over all before it. */
const MAX_DOCUMENTS = 100;

export interface ComposeService {
  readonly name: string;
  /** Everything that is said of it, after merge keys, `extends` and all documents. */
  readonly node: MapNode;
  /** Whether it starts: no profile leaves it out. */
  readonly active: boolean;
  /** The image's name where it is written; its value is undefined where a variable decides that is not known. */
  readonly image: ScalarNode | undefined;
  readonly place: Place;
}

export interface ComposeFile {
  /** The file's text, with byte order mark and line ends as they are. */
  readonly text: string;
  /** All documents in one. */
  readonly root: MapNode;
  /** What there is after each document but the last: docker compose checks every step. */
  readonly earlier: readonly MapNode[];
  readonly services: readonly ComposeService[];
  /** The project's name where the file gives one; its value is undefined where an unknown variable decides. */
  readonly name: ScalarNode | undefined;
  /** Variables that the file asks for, and that are known to have no value. */
  readonly missing: readonly MissingVariable[];
  /** Variables that may be set from outside, whatever the file gives as their default. */
  readonly maySend: ReadonlySet<string>;
  /** Why docker compose may see something else than is told here; empty where it will not. */
  readonly doubts: readonly string[];
}

export interface ComposeEnvironment {
  readonly variables?: ReadonlyMap<string, string> | undefined;
  /** Whether all variables are given: one that is not there is then empty, not unknown. */
  readonly areAll?: boolean | undefined;
  /** Names of variables that whoever runs the file may set, to values that are not known here. */
  readonly maySend?: Iterable<string> | undefined;
}

/**
 * @param bytes a docker-compose.yaml
 * @param environment what is known of the variables that docker compose will see
 * @throws ComposeError `too-large`, `yaml-invalid`, `interpolation-invalid`, `compose-invalid`;
 *   where a line is to blame it is `facts.line`
 */
export function readComposeFile(bytes: Uint8Array, environment: ComposeEnvironment = {}): ComposeFile {
  const text = decode(bytes);
  const variables: Variables = { values: environment.variables ?? new Map(), areAll: environment.areAll ?? false };
  const { documents, missing, unknownTags } = readYaml(text, variables);
  const { root, earlier } = layered(documents);
  const name = memberOf(root, "name");
  return {
    text,
    root,
    earlier,
    services: servicesOf(root, variables.values.get("COMPOSE_PROFILES")),
    name: name?.kind === "scalar" ? name : undefined,
    missing,
    maySend: new Set(environment.maySend),
    doubts: [...doubtsOf(root, unknownTags, variables), ...lineDoubts(text)],
  };
}

/**
 * The name of the project, as docker compose makes it: what the file says, else the folder's name.
 * Undefined where a variable decides that is not known.
 */
export function projectName(file: ComposeFile, folder: string): string | undefined {
  if (file.name !== undefined && file.name.value === undefined) return undefined;
  const name = textOf(file.name) ?? "";
  // An empty name is none; one that variables leave empty is refused.
  if (name === "" && (file.name?.raw ?? "") !== "" && file.name?.value !== null) return "";
  return (name === "" ? folder : name)
    .toLowerCase()
    .replaceAll(/[^a-z0-9_-]/g, "")
    .replace(/^[_-]+/, "");
}

function decode(bytes: Uint8Array): string {
  if (bytes.length > COMPOSE_FILE_MAX_BYTES) {
    throw new ComposeError(
      "too-large",
      `compose file has ${bytes.length} bytes, at most ${COMPOSE_FILE_MAX_BYTES} are accepted; put data into an image or a volume`,
    );
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new ComposeError("yaml-invalid", "the compose file is not valid UTF-8", { cause });
  }
}

/** The documents laid over one another, with every step on the way. */
function layered(documents: readonly ComposeNode[]): { root: MapNode; earlier: readonly MapNode[] } {
  if (documents.length > MAX_DOCUMENTS)
    throw new ComposeError(
      "compose-invalid",
      `the compose file has ${documents.length} documents, at most ${MAX_DOCUMENTS} are read`,
    );
  const steps: MapNode[] = [];
  // Each step is looked at as a whole, so they count together.
  let size = 0;
  for (const document of documents) {
    const step = layOver(steps.at(-1), document);
    size += expandedSize(step);
    checkSize(size);
    steps.push(step);
  }
  const root = steps.pop();
  if (root === undefined) throw new ComposeError("compose-invalid", "the compose file is empty");
  return { root, earlier: steps };
}

function layOver(base: MapNode | undefined, document: ComposeNode): MapNode {
  if (document.kind !== "map")
    throw new ComposeError(
      "compose-invalid",
      "not a compose file: expected a mapping with a `services` member in every document",
      { facts: { line: document.place.line } },
    );
  checkSize(expandedSize(document));
  const services = memberOf(document, "services");
  if (services?.kind === "scalar" && services.value === null)
    throw new ComposeError("compose-invalid", `line ${services.place.line}: \`services\` has nothing in it`, {
      facts: { line: services.place.line },
    });
  const extended = extendServices(document);
  return base === undefined ? withoutResets(extended) : mergeMaps(base, extended, []);
}

function checkSize(size: number): void {
  if (size > MAX_EXPANDED_VALUES)
    throw new ComposeError(
      "compose-invalid",
      `with its aliases written out the compose file has ${size > Number.MAX_SAFE_INTEGER ? "countless" : size} values, at most ${MAX_EXPANDED_VALUES} are read`,
    );
}

function servicesOf(root: MapNode, enabled: string | undefined): readonly ComposeService[] {
  const profiles = new Set((enabled ?? "").split(",").map((profile) => profile.trim()));
  return membersOf(memberOf(root, "services")).map(([name, node]): ComposeService => {
    const own = itemsOf(memberOf(node, "profiles")).flatMap((profile) => textOf(profile) ?? []);
    const image = memberOf(node, "image");
    return {
      name,
      node: node.kind === "map" ? node : { kind: "map", entries: new Map(), place: node.place },
      active: own.length === 0 || profiles.has("*") || own.some((profile) => profiles.has(profile)),
      image: image?.kind === "scalar" ? image : undefined,
      place: node.place,
    };
  });
}

/** What begins a line to docker compose and to nobody else. */
const lineDoubts = (text: string): readonly string[] =>
  /\r(?!\n)|[\u0085\u2028\u2029]/.test(text)
    ? ["a character that only docker compose takes for the end of a line stands in it"]
    : [];

function doubtsOf(root: MapNode, unknownTags: readonly string[], { values }: Variables): readonly string[] {
  return [
    ...(values.has("COMPOSE_PROJECT_NAME") ? ["COMPOSE_PROJECT_NAME renames the project"] : []),
    ...(root.entries.has("include") ? ["`include` brings in services of other files"] : []),
    ...unknownTags.map((tag) => `the tag ${tag} is not known`),
  ];
}
