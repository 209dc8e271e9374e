import { readFile, stat } from "node:fs/promises";
import { basename } from "node:path";
import { lintDockerCompose, type Finding } from "@dstack/compose";
import { pinImages, type DigestLookup, type ResolvedReference } from "../clients/image-references.ts";
import { publishedPorts } from "../local/app-url.ts";
import { CliError } from "../terminal/errors.ts";

const COMPOSE_FILE_LIMIT_BYTES = 8 * 1024 * 1024;

/** A compose file as it would be deployed. */
export interface ComposeInput {
  readonly text: string;
  readonly pinned: readonly ResolvedReference[];
  readonly advice: readonly string[];
  /** Ports of the VM that the gateway reaches: 80 first where it is one of them. */
  readonly published: readonly number[];
}

/**
 * Reads the developer's compose file, with each image tag replaced by the digest that it stands for today.
 * @throws CliError for what cannot be read, what a guest would refuse, a tag that no registry knows
 */
export async function readComposeInput(
  path: string,
  digests: DigestLookup,
  allowMutable: boolean,
): Promise<ComposeInput> {
  const source = await readComposeFile(path);
  const errors = lintDockerCompose(source).filter(({ severity }) => severity === "error");
  if (errors.length > 0)
    throw new CliError(
      "failed",
      `${basename(path)} cannot run as a confidential app:\n${errors.map((error) => `  ${findingText(error)}`).join("\n")}`,
      { hint: "nothing was deployed" },
    );
  const { text, resolved } = await pinImages(source, digests, allowMutable);
  return { text, pinned: resolved, advice: lintDockerCompose(text).map(findingText), published: gatewayPorts(text) };
}

/** Ports of the VM that the gateway reaches: 80, whose address is shortest, first where it is one of them. */
export function gatewayPorts(dockerComposeFile: string): readonly number[] {
  const ports = publishedPorts(dockerComposeFile);
  return [...ports.filter((port) => port === 80), ...ports.filter((port) => port !== 80)];
}

const findingText = ({ message, line }: Finding): string => `${line === undefined ? "" : `line ${line}: `}${message}`;

/** The text of a compose file of sensible size. @throws CliError */
async function readComposeFile(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > COMPOSE_FILE_LIMIT_BYTES)
      throw new CliError("failed", `${path} has ${size} bytes, at most ${COMPOSE_FILE_LIMIT_BYTES} are accepted`, {
        hint: "put data into an image or a volume",
      });
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path));
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError("failed", `${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}
