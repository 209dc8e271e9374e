import { readFile, stat } from "node:fs/promises";
import { basename } from "node:path";
import { utf8 } from "@dstack/bytes";
import { ComposeError } from "@dstack/compose";
import {
  COMPOSE_FILE_MAX_BYTES,
  findingText,
  gatewayPorts,
  GIVEN_VARIABLES,
  lintComposeFile,
  listImages,
  pinImages,
  readComposeFile,
  type ComposeFile,
  type DigestResolver,
  type Finding,
  type GatewayPorts,
  type PinnedFile,
} from "@dstack/compose/docker";
import { CliError } from "../../terminal/errors.ts";

/** A compose file as it would be deployed. */
export interface ComposeInput {
  /** With digests, read with the values that are known; its text has byte order mark and line ends as they are. */
  readonly file: ComposeFile;
  readonly pinned: PinnedFile["pinned"];
  readonly advice: readonly string[];
  readonly gateway: GatewayAnswer;
}

/** Which ports of an app the gateway reaches. */
export interface GatewayAnswer {
  /** 80, whose address is shortest, first where it is one of them. */
  readonly ports: readonly number[];
  /** Why others are not reached, for people. */
  readonly notes: readonly string[];
}

export interface ComposeInputOptions {
  readonly digests: DigestResolver;
  /** Whether an image may stay that nobody can pin. */
  readonly allowMutable: boolean;
  /** Names of the variables that are sent to the app. */
  readonly variables: readonly string[];
  /** Values of those that are known: of an environment that is kept none is. They are secrets, so nothing shows them. */
  readonly values: ReadonlyMap<string, string>;
  /** Whether a script of the manifest may set more. */
  readonly mayHaveMore: boolean;
}

/**
 * Reads the developer's compose file, with each image tag replaced by the digest that it stands for today.
 * @throws CliError for what cannot be read, what a guest would refuse, a tag that no registry knows
 */
export async function readComposeInput(path: string, options: ComposeInputOptions): Promise<ComposeInput> {
  const { digests, allowMutable, variables, values, mayHaveMore } = options;
  const bytes = await readBytes(path);
  const errors = [
    ...refusable(path, () => errorsOf(readComposeFile(bytes))),
    ...(mayHaveMore ? [] : missingVariables(bytes, variables)),
  ];
  if (errors.length > 0) throw refused(path, errors.map(findingText));
  const file = withValues(path, bytes, values);
  const pinned = await pinImages(file, digests, { variables: values }).catch((cause: unknown) => {
    throw asRefusal(path, cause);
  });
  const mutable = mutableImages(pinned, variables).map(mutableText);
  if (mutable.length > 0 && !allowMutable)
    throw new CliError("failed", `${basename(path)} names images that may change:\n${listed(mutable)}`, {
      hint: "pin them as name@sha256:…, or pass --allow-mutable to run whatever they are later",
    });
  return {
    file: pinned.file,
    pinned: pinned.pinned,
    advice: lintComposeFile(readComposeFile(pinned.bytes, { maySend: variables })).map(findingText),
    gateway: gatewayAnswer(pinned.file),
  };
}

const errorsOf = (file: ComposeFile): readonly Finding[] =>
  lintComposeFile(file).filter(({ severity }) => severity !== "advice");

/**
 * The file as the guest will see it, as far as values are known. What they alone make wrong is told by its place.
 * @throws CliError that shows no value
 */
function withValues(path: string, bytes: Uint8Array, values: ReadonlyMap<string, string>): ComposeFile {
  let file: ComposeFile;
  try {
    file = readComposeFile(bytes, { variables: values });
  } catch (error) {
    if (!(error instanceof ComposeError)) throw error;
    const { line } = error.facts;
    const where = typeof line === "number" ? `line ${line}: ` : "";
    throw refused(path, [`${where}it cannot be read with the values of its variables (${error.code})`]);
  }
  const errors = errorsOf(file);
  if (errors.length === 0) return file;
  throw refused(
    path,
    errors.map((finding) =>
      findingText({ ...finding, message: `the values of its variables make it wrong (${finding.code})` }),
    ),
  );
}

/** Whoever sends the environment chooses an image behind one of its variables, whatever its value is today. */
function mutableImages({ file, mutable }: PinnedFile, sent: readonly string[]): PinnedFile["mutable"] {
  const others = listImages(file).flatMap((image): PinnedFile["mutable"][number][] => {
    const mutableBy = image.variables.find((name) => sent.includes(name));
    if (mutableBy === undefined || mutable.some(({ service }) => service === image.service)) return [];
    return [{ ...image, mutableBy, reason: "variable" }];
  });
  return [...mutable, ...others];
}

/** Variables that the file cannot do without and that the app will not have. Which values the others have is all one. */
function missingVariables(bytes: Uint8Array, names: readonly string[]): readonly Finding[] {
  const variables = new Map([...names, ...GIVEN_VARIABLES].map((name) => [name, "1"]));
  return readComposeFile(bytes, { variables, areAll: true }).missing.map(({ variable, message, place }) => ({
    severity: "refuse-in-cli",
    code: "missing-variable",
    path: "",
    service: undefined,
    line: place.line,
    message: `${variable} must have a value and is not given${message === "" ? "" : `: ${message}`}`,
  }));
}

/** What the gateway reaches of the compose file in a manifest. */
export function gatewayAnswerOf(dockerComposeFile: string | undefined): GatewayAnswer {
  try {
    return gatewayAnswer(readComposeFile(utf8(dockerComposeFile ?? "")));
  } catch (error) {
    if (error instanceof ComposeError) return { ports: [], notes: [] };
    throw error;
  }
}

function gatewayAnswer(file: ComposeFile): GatewayAnswer {
  const { reachable, unreachable, hostNetwork } = gatewayPorts(file);
  const ports = reachable.map(({ port }) => port);
  return {
    ports: [...ports.filter((port) => port === 80), ...ports.filter((port) => port !== 80)],
    notes: [
      ...unreachable.map(({ service, port, reason }) => `port ${port} of ${service}: ${UNREACHABLE[reason]}`),
      ...hostNetwork.map(
        (service) => `${service} is on the VM's own network: every port that it listens on is reached`,
      ),
    ],
  };
}

const UNREACHABLE: Readonly<Record<GatewayPorts["unreachable"][number]["reason"], string>> = {
  loopback: "bound to loopback, which the gateway does not reach",
  address: "bound to one address, which the gateway may not reach",
  profile: "its profile is not active",
  protocol: "the gateway forwards TCP alone",
  "free-port": "Docker chooses the VM's port, so nobody knows it beforehand; publish it as PORT:PORT",
  "one-of-many": "Docker takes any free port of the range, so nobody knows which; publish it as PORT:PORT",
  "no-network": "the service has no network",
  "no-container": "no container of the service is started",
  variable: "a variable decides, whose value is not known here",
};

function mutableText(row: PinnedFile["mutable"][number]): string {
  const { service, image, variables, mutableBy, line, reason } = row;
  const what = `line ${line}: image ${image === undefined || variables.length > 0 ? "(from variables)" : image} of ${service}`;
  switch (reason) {
    case "variable":
      return `${what}: the variable ${mutableBy ?? ""} decides, whose value is not in the file`;
    case "invalid":
      return `${what} is no name of an image`;
    case "unresolved":
      return `${what}: no registry was found that knows its digest; check the name and the network`;
  }
}

const listed = (lines: readonly string[]): string => lines.map((line) => `  ${line}`).join("\n");

const refused = (path: string, reasons: readonly string[], cause?: unknown): CliError =>
  new CliError("failed", `${basename(path)} cannot run as a confidential app:\n${listed(reasons)}`, {
    cause,
    hint: "nothing was deployed",
  });

/** The reader's own words, as a refusal of the file. */
function asRefusal(path: string, cause: unknown): unknown {
  if (!(cause instanceof ComposeError)) return cause;
  return refused(path, [cause.message], cause);
}

function refusable<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw asRefusal(path, cause);
  }
}

/** The bytes of a compose file of sensible size. @throws CliError */
async function readBytes(path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path);
    if (size > COMPOSE_FILE_MAX_BYTES)
      throw new CliError("failed", `${path} has ${size} bytes, at most ${COMPOSE_FILE_MAX_BYTES} are accepted`, {
        hint: "put data into an image or a volume",
      });
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError("failed", `${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}
