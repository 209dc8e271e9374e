import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Compiles the contracts and writes what programs need of them, ABI and code, into the library that talks to
 * them. Run after a change: `node contracts/scripts/generate.ts`. A test compares.
 */
const CONTRACTS = join(import.meta.dirname, "..");
const TARGET = join(CONTRACTS, "../libs/governance/src/chain/gen");
const CONTRACT_FILES = [
  { contract: "DstackKms", file: "dstack-kms.ts", constant: "dstackKms" },
  { contract: "DstackApp", file: "dstack-app.ts", constant: "dstackApp" },
  { contract: "ERC1967Proxy", file: "erc1967-proxy.ts", constant: "erc1967Proxy" },
];

interface Artifact {
  readonly abi: readonly object[];
  readonly bytecode: { readonly object: string };
}

/** File name -> text of each generated module. */
export function generate(): Map<string, string> {
  execFileSync("forge", ["build"], {
    cwd: CONTRACTS,
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, PATH: `${join(CONTRACTS, "../node_modules/.bin")}:${process.env["PATH"]}` },
  });
  return new Map(
    CONTRACT_FILES.map(({ contract, file, constant }) => {
      const artifact = JSON.parse(
        readFileSync(join(CONTRACTS, `dist/out/${contract}.sol/${contract}.json`), "utf8"),
      ) as Artifact;
      return [
        file,
        `// Made by contracts/scripts/generate.ts; do not edit.
export const ${constant}Abi = ${JSON.stringify(artifact.abi, null, 1)} as const;

export const ${constant}Code = "${artifact.bytecode.object}" as const;
`,
      ];
    }),
  );
}

if (import.meta.main) {
  for (const [file, text] of generate()) writeFileSync(join(TARGET, file), text);
}
