import { Option } from "commander";

/** What every command action gets beside its own options. */
export interface Common {
  readonly output: "text" | "json";
}

export const output = (): Option =>
  new Option("-o, --output <format>", "text, or json for scripts").choices(["text", "json"]).default("text");

/** For an option that may be given several times. */
export const collect = (value: string, all: readonly string[]): string[] => [...all, value];

/** The examples below a command's help. */
export function examples(lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}`;
}
