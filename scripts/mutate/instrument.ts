import { createHash } from "node:crypto";
import { Instrumenter } from "@stryker-mutator/instrumenter";
import { texts } from "./texts.ts";

export interface Mutant {
  /** Switch number in the instrumented code of this run. */
  readonly id: string;
  /** The same for the same change of the same file content in every run. */
  readonly key: string;
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly mutator: string;
  readonly original: string;
  readonly replacement: string;
}

export interface Instrumented {
  readonly sources: ReadonlyMap<string, string>;
  readonly mutants: readonly Mutant[];
  /** Changes of texts that people read: not judged. */
  readonly ignored: number;
}

const silent = (): void => undefined;
const logger = {
  isTraceEnabled: () => false,
  isDebugEnabled: () => false,
  isInfoEnabled: () => false,
  isWarnEnabled: () => false,
  isErrorEnabled: () => false,
  isFatalEnabled: () => false,
  trace: silent,
  debug: silent,
  info: silent,
  warn: silent,
  error: silent,
  fatal: silent,
};

/** Every mutant of the sources (path -> content), all in one code with a switch for each. */
export async function instrument(sources: ReadonlyMap<string, string>): Promise<Instrumented> {
  const files = [...sources].map(([name, content]) => ({ name, content, mutate: true as const }));
  const result = await new Instrumenter(logger).instrument(files, {
    ignorers: [texts],
    excludedMutations: [],
    plugins: null,
  });
  const mutants = result.mutants
    .filter(({ status }) => status !== "Ignored")
    .map(({ id, fileName, location, mutatorName, replacement }) => {
      const content = sources.get(fileName) ?? "";
      const { start, end } = location;
      const original = between(content, start, end);
      const key = createHash("sha256")
        .update(
          [fileName, content, start.line, start.column, end.line, end.column, mutatorName, replacement].join("\0"),
        )
        .digest("hex")
        .slice(0, 24);
      return { id, key, file: fileName, line: start.line + 1, mutator: mutatorName, original, replacement };
    });
  return {
    sources: new Map(result.files.map(({ name, content }) => [name, content])),
    mutants,
    ignored: result.mutants.length - mutants.length,
  };
}

interface Position {
  readonly line: number;
  readonly column: number;
}

function between(content: string, start: Position, end: Position): string {
  const lines = content.split("\n").slice(start.line, end.line + 1);
  lines[lines.length - 1] = (lines.at(-1) ?? "").slice(0, end.column);
  lines[0] = (lines[0] ?? "").slice(start.column);
  return lines.join("\n");
}
