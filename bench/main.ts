import { boot } from "./boot.ts";

const BENCHMARKS: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = { boot };

const [name = "", ...args] = process.argv.slice(2);
const benchmark = BENCHMARKS[name];
if (benchmark === undefined) {
  process.stderr.write(`usage: npm run bench -- NAME\n  names: ${Object.keys(BENCHMARKS).join(", ")}\n`);
  process.exitCode = 2;
} else {
  await benchmark(args);
}
