import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import {
  encodeAbiParameters,
  encodeFunctionData,
  getAddress,
  keccak256,
  pad,
  toBytes,
  toEventSelector,
  toFunctionSelector,
  type Abi,
  type AbiEvent,
  type AbiFunction,
} from "viem";
import { generate } from "../scripts/generate.ts";
import { vectorSets } from "../../tests/vectors/vector-sets.ts";

const CONTRACTS = join(import.meta.dirname, "..");
const GENERATED = join(CONTRACTS, "../libs/governance/src/chain/gen");

interface Named {
  readonly signature: string;
  readonly selector: string;
  readonly topic0: string;
}

interface Vectors {
  readonly DstackKms: Record<"functions" | "events" | "errors", Named[]>;
  readonly DstackApp: Record<"functions" | "events" | "errors", Named[]>;
  readonly policyTopics: Record<string, string>;
  readonly calldata: { readonly bootInfo: object; readonly isAppAllowed: string; readonly isKmsAllowed: string };
  readonly storage: Record<"DstackKms" | "DstackApp", Record<string, number | string>> & {
    readonly examples: { contract: "DstackKms" | "DstackApp"; field: string; key: `0x${string}`; slot: string }[];
  };
}

interface Artifact {
  readonly abi: Abi;
  readonly storageLayout: { readonly storage: { label: string; slot: string; offset: number; type: string }[] };
}

/** One of forge's commands in the contracts' folder; its whole output where it fails. */
function forge(...args: string[]): void {
  const { status, stdout, stderr } = spawnSync("forge", args, {
    cwd: CONTRACTS,
    encoding: "utf8",
    timeout: 240_000,
    env: { ...process.env, PATH: `${join(CONTRACTS, "../node_modules/.bin")}:${process.env["PATH"]}`, NO_COLOR: "1" },
  });
  assert.equal(status, 0, `forge ${args.join(" ")}:\n${stdout}${stderr}`);
}

const artifact = (name: string): Artifact =>
  JSON.parse(readFileSync(join(CONTRACTS, `dist/out/${name}.sol/${name}.json`), "utf8")) as Artifact;

let generated: Map<string, string>;
before(() => {
  generated = generate();
});

test("the library holds what the contracts compile to (mend: node contracts/scripts/generate.ts)", () => {
  for (const [file, text] of generated) assert.equal(readFileSync(join(GENERATED, file), "utf8"), text, file);
});

test("unit, property and invariant tests of the contracts pass", () => forge("test"));

test("the contracts are formatted and free of lint", () => {
  forge("fmt", "--check");
  forge("lint", "--deny", "notes");
});

test("no call costs other gas than the snapshot says (mend: forge snapshot in contracts/)", () => {
  forge("snapshot", "--no-match-test", "testFuzz|invariant", "--check", "gas-snapshot.txt");
});

for (const set of vectorSets("kms/contract-abi.json")) {
  describe(`deployed contracts can be replaced (${set.name})`, () => {
    const vectors = set.json<Vectors>("kms/contract-abi.json");

    for (const name of ["DstackKms", "DstackApp"] as const) {
      test(`${name} has every function, event and error of the deployed one`, () => {
        const { abi } = artifact(name);
        const functions = new Set(
          abi.filter((item): item is AbiFunction => item.type === "function").map((item) => toFunctionSelector(item)),
        );
        const events = new Set(
          abi.filter((item): item is AbiEvent => item.type === "event").map((item) => toEventSelector(item)),
        );
        for (const { signature, selector } of vectors[name].functions)
          assert.ok(functions.has(selector as `0x${string}`), signature);
        for (const { signature, topic0 } of vectors[name].events)
          assert.ok(events.has(topic0 as `0x${string}`), signature);
      });

      test(`${name} keeps each field in its slot`, () => {
        const layout = artifact(name).storageLayout.storage;
        for (const [label, slot] of Object.entries(vectors.storage[name])) {
          if (label.includes("byte")) {
            assert.deepEqual(
              layout.filter((field) => field.slot === String(slot)).map((field) => [field.label, field.offset]),
              [
                ["_upgradesDisabled", 0],
                ["allowAnyDevice", 1],
              ],
            );
            continue;
          }
          const field = layout.find((candidate) => candidate.label === label.split(".")[0]);
          const [first, last] = String(slot).split("..").map(Number);
          if (label.startsWith("kmsInfo.")) assert.equal(field?.slot, "0");
          else assert.equal(field?.slot, String(first), label);
          if (last !== undefined) assert.match(field?.type ?? "", new RegExp(`\\)${last - first! + 1}_storage$`));
        }
      });
    }

    test("elements of mappings lie where deployed proxies have them", () => {
      for (const { contract, field, key, slot } of vectors.storage.examples) {
        const base =
          artifact(contract).storageLayout.storage.find(({ label }) => label === field)?.slot ?? assert.fail(field);
        assert.equal(
          keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "uint256" }], [pad(key), BigInt(base)])),
          slot,
          field,
        );
      }
    });

    test("names of policies hash to their topics", () => {
      for (const [name, topic] of Object.entries(vectors.policyTopics))
        assert.equal(keccak256(toBytes(name)), topic, name);
      const sources = ["PolicyAudit", "DstackKms", "DstackApp"]
        .map((name) => readFileSync(join(CONTRACTS, `src/${name}.sol`), "utf8"))
        .join("");
      for (const name of Object.keys(vectors.policyTopics)) assert.ok(sources.includes(`keccak256("${name}")`), name);
    });

    test("calls are encoded as clients encode them", () => {
      const { abi } = artifact("DstackKms");
      const info = vectors.calldata.bootInfo as Record<string, string>;
      const args = [
        { ...info, appId: getAddress(info["appId"] ?? ""), instanceId: getAddress(info["instanceId"] ?? "") },
      ];
      assert.equal(encodeFunctionData({ abi, functionName: "isAppAllowed", args }), vectors.calldata.isAppAllowed);
      assert.equal(encodeFunctionData({ abi, functionName: "isKmsAllowed", args }), vectors.calldata.isKmsAllowed);
    });
  });
}
