/** Loaded one at a time: each brings its own peers along. */
const BENCHMARKS: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  auth: async (args) => (await import("./auth.ts")).auth(args),
  boot: async () => (await import("./boot.ts")).boot(),
  evidence: async (args) => (await import("./evidence.ts")).evidence(args),
  kms: async (args) => (await import("./kms.ts")).kms(args),
};

const [name = "", ...args] = process.argv.slice(2);
const benchmark = BENCHMARKS[name];
if (benchmark === undefined) {
  process.stderr.write(`usage: npm run bench -- NAME\n  names: ${Object.keys(BENCHMARKS).join(", ")}\n`);
  process.exitCode = 2;
} else {
  await benchmark(args);
}
