import { spawn } from "node:child_process";
import { ProcessError } from "./errors.ts";

export interface RunOptions {
  /** Deadline in milliseconds; the child and its group are killed after it. 60,000 unless given. */
  readonly timeoutMs?: number;
  /** Given to the child on standard input: the only way for a secret to reach it (#556). */
  readonly input?: Uint8Array | string;
  readonly cwd?: string;
  /** Replaces the environment when given. */
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
  /** Most bytes kept of each of stdout and stderr; 16 MiB unless given, the rest is dropped. */
  readonly maxOutputBytes?: number;
  /** Called with each piece of output as it comes. */
  readonly onOutput?: (text: string, from: "stdout" | "stderr") => void;
  /** Exit codes that count as success; 0 unless given. */
  readonly okCodes?: readonly number[];
}

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end and gives its output.
 * @throws ProcessError with the last lines of stderr in its text
 */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const limit = options.maxOutputBytes ?? 16 * 1024 * 1024;
  const timeoutMs = options.timeoutMs ?? 60_000;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
      detached: true,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    let ended: "timed-out" | "aborted" | undefined;
    const kill = (why: "timed-out" | "aborted"): void => {
      ended = why;
      if (child.pid !== undefined) killGroup(child.pid);
    };
    const timer = setTimeout(() => kill("timed-out"), timeoutMs);
    const abort = (): void => kill("aborted");
    options.signal?.addEventListener("abort", abort, { once: true });
    if (options.signal?.aborted === true) abort();
    const stdout = collect(limit);
    const stderr = collect(limit);
    child.stdout?.on("data", (chunk: Buffer) => {
      stdout.add(chunk);
      options.onOutput?.(chunk.toString(), "stdout");
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      stderr.add(chunk);
      options.onOutput?.(chunk.toString(), "stderr");
    });
    child.stdin?.on("error", () => undefined); // A child that ends without reading its input is judged by its exit code.
    if (options.input !== undefined) child.stdin?.end(options.input);
    const done = (): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", abort);
    };
    child.once("error", (cause: NodeJS.ErrnoException) => {
      done();
      const why = cause.code === "ENOENT" ? "is not installed or not on PATH" : cause.message;
      reject(new ProcessError("not-started", `${program} ${why}`, { cause }));
    });
    child.once("close", (code, signal) => {
      done();
      const result = { code: code ?? -1, stdout: stdout.text(), stderr: stderr.text() };
      const tail = result.stderr.trim().split("\n").slice(-5).join("\n");
      if (ended !== undefined) {
        reject(
          new ProcessError(
            ended,
            `${program} ${ended === "timed-out" ? `did not end within ${timeoutMs} ms` : "was stopped"}${tail === "" ? "" : `: ${tail}`}`,
            { stderr: result.stderr },
          ),
        );
      } else if (!(options.okCodes ?? [0]).includes(result.code)) {
        reject(
          new ProcessError(
            "failed",
            `${program} ended with ${signal ?? `code ${result.code}`}${tail === "" ? "" : `: ${tail}`}`,
            { exitCode: result.code, stderr: result.stderr },
          ),
        );
      } else {
        resolve(result);
      }
    });
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function collect(limit: number): { add(chunk: Buffer): void; text(): string } {
  const chunks: Buffer[] = [];
  let length = 0;
  return {
    add: (chunk) => {
      if (length < limit) chunks.push(chunk.subarray(0, limit - length));
      length += chunk.length;
    },
    text: () => Buffer.concat(chunks).toString("utf8"),
  };
}
