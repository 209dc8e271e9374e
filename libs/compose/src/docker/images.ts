/**
 * Which images a compose file names, and its digests written into it. In come a file and somebody
 * who knows the digests; out comes the same file, other bytes only where an image is written.
 */
import { utf8 } from "@dstack/bytes";
import { ComposeError } from "../errors.ts";
import { differingScalars } from "./compare.ts";
import { isPinnedImage, parseImageReference, type ImageReference } from "./image-reference.ts";
import { memberOf, type ScalarNode, type TextPart } from "./node.ts";
import { readComposeFile, type ComposeEnvironment, type ComposeFile } from "./read-compose-file.ts";

export interface ServiceImage {
  readonly service: string;
  /** The name that Docker will see; undefined where a variable decides whose value is not known. */
  readonly image: string | undefined;
  readonly isPinned: boolean;
  /** Variables that have a say in it. */
  readonly variables: readonly string[];
  /** The variable that keeps it from being pinned: its value is not written in the file, or can be another one. */
  readonly mutableBy: string | undefined;
  readonly line: number;
}

/** Whether a service is built rather than pulled, and names no image. */
const hasImage = (node: ScalarNode | undefined): node is ScalarNode => node !== undefined && node.value !== null;

/** The image of every service that names one, in order. */
export function listImages(file: ComposeFile): readonly ServiceImage[] {
  return file.services.flatMap(({ name, image }): ServiceImage[] => {
    if (!hasImage(image)) return [];
    const text = image.value === undefined ? undefined : String(image.value);
    const { isPinned, variable } = pinOf(image, file.maySend);
    return [
      {
        service: name,
        image: text,
        isPinned,
        variables: image.variables,
        mutableBy: variable,
        line: image.place.line,
      },
    ];
  });
}

/** Services whose image is built when they start. */
export const builtServices = (file: ComposeFile): readonly string[] =>
  file.services.filter(({ node }) => memberOf(node, "build") !== undefined).map(({ name }) => name);

/**
 * Whether the image ends with a digest that no variable from outside has a say in; Docker goes by
 * it whatever stands before. Else the variable that decides, where the file does not.
 */
function pinOf(image: ScalarNode, maySend: ReadonlySet<string>): { isPinned: boolean; variable: string | undefined } {
  const { value, parts, variables } = image;
  if (value === undefined) return { isPinned: false, variable: variables[0] };
  const decider = ({ from, variables }: TextPart): string | undefined =>
    variables.find((name) => maySend.has(name)) ?? (from === "variable" ? variables.at(-1) : undefined);
  const open = parts.findLastIndex((part) => decider(part) !== undefined);
  const own = parts.slice(open + 1).map(({ text }) => text);
  if (isPinnedImage(parts.length === 0 ? String(value) : own.join(""))) return { isPinned: true, variable: undefined };
  const last = parts[open];
  const isDecided = last !== undefined && (own.length === 0 || String(value).includes("@"));
  return { isPinned: false, variable: isDecided ? decider(last) : undefined };
}

/** Asks for the digest (`sha256:...`) that an image's name stands for today; undefined where nobody knows it. */
export type DigestResolver = (image: ImageReference) => Promise<string | undefined>;

export interface PinnedFile {
  readonly file: ComposeFile;
  readonly bytes: Uint8Array;
  /** What was written over, each place once. */
  readonly pinned: readonly { readonly from: string; readonly to: string; readonly line: number }[];
  /** What may still change, and why. */
  readonly mutable: readonly (ServiceImage & { readonly reason: "unresolved" | "variable" | "invalid" })[];
}

/**
 * Writes digests into exactly those bytes where images are written. The result is read again and
 * must be the same but for these values, else nothing is returned.
 * @param environment what the file was read with
 * @throws ComposeError `pin-failed` where the result would differ in anything else
 */
export async function pinImages(
  file: ComposeFile,
  resolve: DigestResolver,
  environment: ComposeEnvironment = {},
): Promise<PinnedFile> {
  const edits = new Map<number, Edit>();
  const mutable: PinnedFile["mutable"][number][] = [];
  const wanted = new Map<string, string>();
  for (const row of listImages(file)) {
    if (row.isPinned) continue;
    const image = file.services.find(({ name }) => name === row.service)?.image;
    const reference = referenceOf(row.image);
    if (image === undefined || row.mutableBy !== undefined || row.image === undefined) {
      mutable.push({ ...row, reason: "variable" });
    } else if (reference === undefined || reference.digest !== undefined) {
      // Whoever wrote a digest means that one, and none of today.
      mutable.push({ ...row, reason: "invalid" });
    } else {
      const digest = await resolve(reference);
      if (digest === undefined) {
        mutable.push({ ...row, reason: "unresolved" });
        continue;
      }
      if (!/^sha256:[0-9a-f]{64}$/.test(digest))
        throw new ComposeError("pin-failed", `${JSON.stringify(digest.slice(0, 80))} is no digest of ${row.image}`);
      const edit = editFor(file.text, image, reference, digest);
      edits.set(edit.start, edit);
      wanted.set(row.service, edit.to);
    }
  }
  const text = applied(file.text, [...edits.values()]);
  const bytes = utf8(text);
  const result = reread(bytes, environment);
  checkOnlyImagesDiffer(file, result, wanted);
  return {
    file: result,
    bytes,
    mutable,
    pinned: [...edits.values()].map(({ from, to, line }) => ({ from, to, line })),
  };
}

interface Edit {
  /** Offsets in the file's text. */
  readonly start: number;
  readonly end: number;
  readonly written: string;
  readonly from: string;
  readonly to: string;
  readonly line: number;
}

function referenceOf(image: string | undefined): ImageReference | undefined {
  try {
    return image === undefined ? undefined : parseImageReference(image);
  } catch (error) {
    if (error instanceof ComposeError) return undefined;
    throw error;
  }
}

/**
 * A name that the file writes in one piece becomes `name@digest`. Where variables have a say the
 * digest is put behind what is written, and Docker goes by the digest whatever they say.
 */
function editFor(text: string, image: ScalarNode, { name }: ImageReference, digest: string): Edit {
  const last = image.parts.at(-1);
  const from = String(image.value);
  if (last === undefined || last.from === "variable") throw cannotPin(image);
  const isOnePiece = image.parts.length === 1;
  const part: TextPart = isOnePiece ? last : { ...last, start: last.end };
  const line = image.place.line;
  if (isOnePiece && last.from === "literal" && !isBlock(image)) {
    const quotes = image.style === "plain" ? 0 : 1;
    const [start, end] = [image.place.start + quotes, image.place.end - quotes];
    const to = `${name}@${digest}`;
    return { start, end, written: to, from, to, line };
  }
  const offset = offsetOfRaw(text, image);
  return {
    start: offset + part.start,
    end: offset + part.end,
    written: isOnePiece ? `${name}@${digest}` : `@${digest}`,
    from,
    to: isOnePiece ? `${name}@${digest}` : `${from}@${digest}`,
    line,
  };
}

const isBlock = ({ style }: ScalarNode): boolean => style === "folded" || style === "literal";

/** Where in the file the scalar's own text begins: it must stand there in one piece, and once. */
function offsetOfRaw(text: string, image: ScalarNode): number {
  const written = text.slice(image.place.start, image.place.end);
  const at = written.indexOf(image.raw);
  if (image.raw === "" || at < 0 || written.indexOf(image.raw, at + 1) >= 0) throw cannotPin(image);
  return image.place.start + at;
}

const cannotPin = ({ place: { line }, value }: ScalarNode): ComposeError =>
  new ComposeError(
    "pin-failed",
    `line ${line}: the image ${String(value)} is written in a way that a digest cannot be put into; write it in one piece, without escapes`,
    { facts: { line } },
  );

function applied(text: string, edits: readonly Edit[]): string {
  let result = text;
  for (const { start, end, written } of edits.toSorted((a, b) => b.start - a.start))
    result = result.slice(0, start) + written + result.slice(end);
  return result;
}

function reread(bytes: Uint8Array, environment: ComposeEnvironment): ComposeFile {
  try {
    return readComposeFile(bytes, environment);
  } catch (cause) {
    throw new ComposeError("pin-failed", "the compose file with its digests cannot be read any more", { cause });
  }
}

function checkOnlyImagesDiffer(before: ComposeFile, after: ComposeFile, wanted: ReadonlyMap<string, string>): void {
  for (const { name, image } of after.services) {
    const want = wanted.get(name);
    if (want !== undefined && image?.value !== want)
      throw new ComposeError(
        "pin-failed",
        `the image of service ${name} reads ${String(image?.value)} after pinning, not ${want}`,
      );
  }
  const allowed = new Set([...wanted.keys()].map((service) => JSON.stringify(["services", service, "image"])));
  const other = differingScalars(before.root, after.root).find((path) => !allowed.has(JSON.stringify(path)));
  if (other !== undefined)
    throw new ComposeError(
      "pin-failed",
      `pinning would also change ${other.join(".")}, which shares its text with an image; write it apart`,
    );
}
