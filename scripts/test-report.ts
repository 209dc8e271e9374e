import { inspect } from "node:util";

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** 0 only where something ran, nothing failed and nothing was left out. */
export function exitCodeOf({ passed, failed, skipped }: Counts): 0 | 1 {
  return passed > 0 && failed === 0 && skipped === 0 ? 0 : 1;
}

interface FailedTest {
  readonly name: string;
  readonly file?: string | undefined;
  readonly line?: number | undefined;
  readonly details: { readonly error?: unknown };
}

/**
 * The text for one failed test: its name, where it stands and why. Undefined for a suite that
 * only failed because of a test inside, which was told already.
 */
export function describeFailure(test: FailedTest, stderr: string): string | undefined {
  const error = test.details.error;
  const failureType = fieldOf(error, "failureType");
  if (failureType === "subtestsFailed") return undefined;
  const cause = fieldOf(error, "cause") ?? error;
  const reason = cause instanceof Error ? (cause.stack ?? cause.message) : inspect(cause);
  // A file that fails as a whole (it did not load, it was killed) says why on stderr only.
  const wholeFile = test.name === test.file;
  const lines = [
    `FAILED  ${wholeFile ? test.name : `${test.name} (${test.file ?? "?"}:${test.line ?? 0})`}`,
    reason,
    ...(wholeFile ? [stderr] : []),
  ];
  return lines.join("\n").split("\n").slice(0, 80).join("\n  ");
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
