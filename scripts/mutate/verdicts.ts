import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Verdict } from "./protocol.ts";

export interface Judged {
  readonly verdict: Verdict | "not reached";
  readonly by?: string;
}

interface Line extends Judged {
  readonly key: string;
  /** Of all tests; what survived is judged again when they change. */
  readonly tests: string;
}

/** Verdicts as they come, one JSON line each, so that a run that was stopped goes on where it was. */
export class VerdictStore {
  readonly #path: string;
  readonly #tests: string;
  readonly #lines = new Map<string, Line>();

  constructor(path: string, tests: string) {
    this.#path = path;
    this.#tests = tests;
    mkdirSync(dirname(path), { recursive: true });
    if (!existsSync(path)) return;
    for (const text of readFileSync(path, "utf8").split("\n")) {
      // The last line may be half written.
      if (text.startsWith("{") && text.endsWith("}")) this.#keep(JSON.parse(text) as Line);
    }
  }

  /** A kill holds while the file is what it was; what survived holds while the tests are, too. */
  get(key: string): Judged | undefined {
    const line = this.#lines.get(key);
    if (line === undefined) return undefined;
    const isKill = line.verdict === "killed" || line.verdict === "timeout";
    return isKill || line.tests === this.#tests ? line : undefined;
  }

  add(key: string, judged: Judged): void {
    const line = { key, tests: this.#tests, ...judged };
    this.#keep(line);
    appendFileSync(this.#path, `${JSON.stringify(line)}\n`);
  }

  #keep(line: Line): void {
    this.#lines.set(line.key, line);
  }
}
