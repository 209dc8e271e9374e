import { readFile, stat } from "node:fs/promises";
import { basename } from "node:path";
import { utf8 } from "@dstack/bytes";
import { ComposeError, lintDockerCompose } from "@dstack/compose";
import {
  COMPOSE_FILE_MAX_BYTES,
  gatewayPorts,
  pinImages,
  readComposeFile,
  type ComposeFile,
  type DigestResolver,
  type GatewayPorts,
  type PinnedFile,
} from "@dstack/compose/docker";
import { CliError } from "../terminal/errors.ts";

/** A compose file as it would be deployed. */
export interface ComposeInput {
  /** Its text with digests, byte order mark and line ends as they are. */
  readonly text: string;
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

/**
 * Reads the developer's compose file, with each image tag replaced by the digest that it stands for today.
 * @throws CliError for what cannot be read, what a guest would refuse, a tag that no registry knows
 */
export async function readComposeInput(
  path: string,
  digests: DigestResolver,
  allowMutable: boolean,
): Promise<ComposeInput> {
  const bytes = await readBytes(path);
  const file = refusable(path, () => readComposeFile(bytes));
  const errors = lintDockerCompose(file.text).filter(({ severity }) => severity === "error");
  if (errors.length > 0) throw refused(path, errors.map(findingText));
  const pinned = await pinImages(file, digests).catch((cause: unknown) => {
    throw asRefusal(path, cause);
  });
  const mutable = pinned.mutable.map(mutableText);
  if (mutable.length > 0 && !allowMutable)
    throw new CliError("failed", `${basename(path)} names images that may change:\n${listed(mutable)}`, {
      hint: "pin them as name@sha256:…, or pass --allow-mutable to run whatever they are later",
    });
  return {
    text: pinned.file.text,
    pinned: pinned.pinned,
    advice: lintDockerCompose(pinned.file.text).map(findingText),
    gateway: gatewayAnswer(pinned.file),
  };
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
  variable: "a variable decides, whose value is not known here",
};

function mutableText({ service, image, mutableBy, line, reason }: PinnedFile["mutable"][number]): string {
  const what = `line ${line}: image ${image ?? "(from variables)"} of ${service}`;
  switch (reason) {
    case "variable":
      return `${what}: the variable ${mutableBy ?? ""} decides, whose value is not in the file`;
    case "invalid":
      return `${what} is no name of an image`;
    case "unresolved":
      return `${what}: no registry was found that knows its digest; check the name and the network`;
  }
}

const findingText = ({ message, line }: { readonly message: string; readonly line: number | undefined }): string =>
  `${line === undefined ? "" : `line ${line}: `}${message}`;

const listed = (lines: readonly string[]): string => lines.map((line) => `  ${line}`).join("\n");

const refused = (path: string, reasons: readonly string[], cause?: unknown): CliError =>
  new CliError("failed", `${basename(path)} cannot run as a confidential app:\n${listed(reasons)}`, {
    cause,
    hint: "nothing was deployed",
  });

/** The reader's own words, as a refusal of the file. */
function asRefusal(path: string, cause: unknown): unknown {
  if (!(cause instanceof ComposeError)) return cause;
  const { line } = cause.facts;
  return refused(path, [findingText({ message: cause.message, line: typeof line === "number" ? line : undefined })]);
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
