import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { fuzzGuarded } from "./fuzz-guarded.ts";
import { crashOf } from "./fuzz-run.ts";
import { saveFinding } from "./findings.ts";
import { TARGETS } from "./targets/index.ts";

const USAGE = `usage: npm run fuzz -- TARGET COUNT [--seed N]   COUNT mangled inputs, the same ones for the same seed (1)
       npm run fuzz -- TARGET --file FILE        one input from a file
       npm run fuzz -- --list                    the targets
exit code 1: an input crashed the reader, took over 100 ms, or memory grew
`;

const { values, positionals } = parseArgs({
  options: { list: { type: "boolean" }, seed: { type: "string", default: "1" }, file: { type: "string" } },
  allowPositionals: true,
});
const [name = "", count = ""] = positionals;
const target = TARGETS.get(name);
if (values.list === true) {
  for (const { name: each, about } of TARGETS.values()) process.stdout.write(`${each.padEnd(18)} ${about}\n`);
} else if (target !== undefined && values.file !== undefined) {
  const crash = crashOf(target, new Uint8Array(readFileSync(values.file)));
  process.stdout.write(`${crash ?? "read or refused as it should be"}\n`);
  process.exitCode = crash === undefined ? 0 : 1;
} else if (target !== undefined && /^[1-9]\d{0,9}$/.test(count) && /^\d{1,9}$/.test(values.seed)) {
  process.exitCode = await run();
} else {
  process.stderr.write(USAGE);
  process.exitCode = 2;
}

async function run(): Promise<number> {
  const seed = Number(values.seed);
  const report = await fuzzGuarded({ target: name, count: Number(count), seed });
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const rate = Math.round(report.executions / report.seconds);
  process.stdout.write(
    `${name}: ${report.executions} executions, ${rate} per second, ${report.accepted} accepted, corpus ${report.corpus}, ` +
      `slowest ${report.slowestMs.toFixed(1)} ms, heap growth ${mib(report.heapGrowthBytes)}, RSS growth ${mib(report.residentGrowthBytes)}, ` +
      `${report.findings.length} findings\n`,
  );
  for (const finding of report.findings) {
    const file = saveFinding(TARGETS.get(name)!, finding.input);
    process.stdout.write(
      `${finding.kind} at execution ${finding.execution} of seed ${seed}: ${finding.text}\n  again: npm run fuzz -- ${name} --file ${file}\n`,
    );
  }
  if (report.memoryGrew)
    process.stdout.write(`memory grew\n  again: npm run fuzz -- ${name} ${count} --seed ${seed}\n`);
  return report.findings.length > 0 || report.memoryGrew ? 1 : 0;
}
