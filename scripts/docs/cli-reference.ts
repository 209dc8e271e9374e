import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CommandUnknownOpts, Option } from "@commander-js/extra-typings";
import { createCli, createProgram, EXIT_CODES } from "@dstack/cli/testing";

/**
 * Prints docs/reference/cli.md from the program itself: every command with its arguments, options, defaults and
 * examples. Run: node scripts/docs/cli-reference.ts
 */
const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const CLI_PAGE = "docs/reference/cli.md";

/** The whole page. */
export function cliPage(): string {
  const program = createProgram(createCli({}));
  const commands = commandsBelow(program);
  return [
    "# The command line",
    "",
    program.description(),
    "",
    "Standard output is data, standard error is talk; `-o json` is stable. Variables that are read: [environment.md](environment.md). This page is printed by `node scripts/docs/cli-reference.ts`; the text is that of `--help`.",
    "",
    "| Exit code | Meaning |",
    "|---|---|",
    ...EXIT_CODES.map(({ code, meaning }) => `| ${code} | ${meaning} |`),
    "",
    "| Command | What it does |",
    "|---|---|",
    ...commands.map(
      (command) =>
        `| [\`${nameOf(command)}\`](#${nameOf(command).replaceAll(" ", "-")}) | ${cell(summaryOf(command))} |`,
    ),
    "",
    ...commands.flatMap(section),
  ].join("\n");
}

function commandsBelow(parent: CommandUnknownOpts): CommandUnknownOpts[] {
  return parent.commands.flatMap((command) => [command, ...commandsBelow(command)]);
}

/** As it is typed, e.g. "dstack kms share open". */
function nameOf(command: CommandUnknownOpts): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

const summaryOf = (command: CommandUnknownOpts): string =>
  command.summary() === "" ? command.description() : command.summary();

function section(command: CommandUnknownOpts): string[] {
  const [summary, description] = [command.summary(), command.description()].filter((text) => text !== "");
  const { usage, examples } = helpOf(command);
  return [
    `## ${nameOf(command)}`,
    "",
    capitalised(summary ?? ""),
    "",
    ...(description === undefined ? [] : [description, ""]),
    "```sh",
    usage,
    ...(examples.length === 0 ? [] : ["", ...examples]),
    "```",
    "",
    ...argumentTable(command),
    ...optionTable(command),
  ];
}

/** What the help of a command says beside its tables. */
function helpOf(command: CommandUnknownOpts): { readonly usage: string; readonly examples: readonly string[] } {
  let help = "";
  command.configureOutput({ writeOut: (text) => (help += text) });
  command.outputHelp();
  return {
    usage: command.createHelp().commandUsage(command),
    examples: [...help.matchAll(/^ {2}\$ (.*)$/gm)].map(([, line]) => line ?? ""),
  };
}

function argumentTable(command: CommandUnknownOpts): string[] {
  const described = command.registeredArguments.filter(({ description }) => description !== "");
  if (described.length === 0) return [];
  const rows = described.map((argument) => `| \`${argument.name()}\` | ${cell(argument.description)} |`);
  return ["| Argument | Meaning |", "|---|---|", ...rows, ""];
}

function optionTable(command: CommandUnknownOpts): string[] {
  if (command.options.length === 0) return [];
  const rows = command.options.map(
    (option) => `| \`${option.flags}\` | ${defaultOf(option)} | ${cell(option.description)}${choicesOf(option)} |`,
  );
  return ["| Option | Default | Meaning |", "|---|---|---|", ...rows, ""];
}

function defaultOf({ mandatory, defaultValue, defaultValueDescription, negate }: Option): string {
  if (mandatory) return "must be given";
  if (negate || defaultValue === undefined || defaultValueDescription === "none") return "";
  return `\`${String(defaultValueDescription ?? defaultValue)}\``;
}

const choicesOf = ({ argChoices }: Option): string =>
  argChoices === undefined ? "" : ` (${argChoices.map((choice) => `\`${choice}\``).join(", ")})`;

const cell = (text: string): string => text.replaceAll("|", "\\|");
const capitalised = (text: string): string =>
  `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${/[.]$/.test(text) ? "" : "."}`;

if (import.meta.main) writeFileSync(join(ROOT, CLI_PAGE), cliPage());
