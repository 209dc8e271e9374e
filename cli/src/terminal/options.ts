import { Option, type CommandUnknownOpts } from "@commander-js/extra-typings";

/** The command below which another one is declared. */
export type Parent = CommandUnknownOpts;

/**
 * The options of a command as its declaration has them: their names stand in the declaration alone, and a
 * command that reads another name does not compile.
 */
export type OptionsOf<Declaration extends (parent: Parent) => { opts(): unknown }> = Readonly<
  ReturnType<ReturnType<Declaration>["opts"]>
>;

export const output = () =>
  new Option("-o, --output <format>", "text, or json for scripts").choices(["text", "json"] as const).default("text");

/** An option that may be given several times. */
export const repeatable = <Flags extends string>(flags: Flags, description: string) =>
  new Option(flags, description)
    .argParser((value: string, all: readonly string[]): readonly string[] => [...all, value])
    .default([] as readonly string[], "none");

/** The examples, with which a command's help begins. */
export function examples(lines: readonly string[]): string {
  return `Examples:\n${lines.map((line) => `  $ ${line}`).join("\n")}\n`;
}
