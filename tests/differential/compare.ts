import { forge, goodScene } from "../forge/forged-evidence.ts";
import type { Forged } from "../forge/forged-evidence.ts";
import { mutateBytes } from "../fuzz/mutate-bytes.ts";
import { mutateDer } from "../fuzz/mutate-der.ts";
import { mutateJsonText } from "../fuzz/mutate-json.ts";
import { mutateValue } from "../fuzz/mutate-value.ts";
import { Random } from "../fuzz/random.ts";
import { DIFFERENCES, differenceById } from "./differences.ts";
import { EDITS } from "./edits.ts";
import { agree, ours, theirs } from "./verdicts.ts";
import type { Verdict } from "./verdicts.ts";

export interface Comparison {
  readonly compared: number;
  readonly bothAccept: number;
  readonly bothRefuse: number;
  /** How often each row of the table explained a difference. */
  readonly explained: ReadonlyMap<string, number>;
  readonly unexplained: readonly string[];
}

interface Case {
  readonly name: string;
  readonly evidence: Forged;
  /** Rows that may explain a difference. */
  readonly rows: readonly string[];
}

/** Each edit alone, `rounds` times with other random choices. */
export function* singleEdits(seed: number, rounds: number): Generator<Case> {
  const random = new Random(seed);
  for (let round = 0; round < rounds; round++) {
    for (const { name, apply, differs = [] } of EDITS) {
      const scene = goodScene();
      apply(scene, random);
      yield { name, evidence: forge(scene), rows: differs };
    }
  }
}

/** Two or three edits together: rules may hide each other and must not confuse each other. */
export function* combinedEdits(seed: number, count: number): Generator<Case> {
  const random = new Random(seed);
  for (let i = 0; i < count; i++) {
    const scene = goodScene();
    const edits = Array.from({ length: 2 + random.below(2) }, () => random.pick(EDITS));
    for (const { apply } of edits) {
      // Edits of a TD quote mean nothing to a scene that an earlier edit made an SGX one.
      if (scene.teeType === 0) break;
      apply(scene, random);
    }
    yield {
      name: edits.map(({ name }) => name).join(" + "),
      evidence: forge(scene),
      rows: [...edits.flatMap(({ differs = [] }) => differs), "module-level"],
    };
  }
}

/** Rows that speak of form, which random bytes may break anywhere. */
const FORM = [
  "strict-quote",
  "strict-json",
  "strict-der",
  "crl-signature",
  "crl-issuer",
  "crl-time",
  "crl-chain",
  "chain-names",
  "chain-authority",
  "critical-extension",
  "vendor",
  "short-chain",
  "sent-root",
  "document-signer",
];

/** Random bytes and members changed, signatures left as they are: whoever reads on must notice. */
export function* randomChanges(seed: number, count: number, start: Forged = forge(goodScene())): Generator<Case> {
  const random = new Random(seed);
  for (let i = 0; i < count; i++)
    yield { name: `random change ${i} of seed ${seed}`, evidence: changed(random, start), rows: FORM };
}

function changed(random: Random, evidence: Forged): Forged {
  if (random.oneIn(2)) return { ...evidence, quote: mutateBytes(random, evidence.quote, evidence.quote) };
  const name = random.pick(Object.keys(evidence.collateral));
  const value = evidence.collateral[name] ?? "";
  return { ...evidence, collateral: { ...evidence.collateral, [name]: changedText(random, name, value) } };
}

function changedText(random: Random, name: string, value: string): string {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");
  const raw = new Uint8Array(Buffer.from(value));
  if (name.endsWith("_chain")) return text(mutateBytes(random, raw, raw));
  if (name.endsWith("_crl")) return Buffer.from(mutateDer(random, Buffer.from(value, "hex"))).toString("hex");
  if (name.endsWith("_signature"))
    return Buffer.from(mutateBytes(random, Buffer.from(value, "hex"), raw)).toString("hex");
  return text(mutateJsonText(random, raw, mutateValue));
}

/** Both verdicts of every case; what differs must be explained by a row that the case allows. */
export function compare(cases: Iterable<Case>): Comparison {
  const explained = new Map<string, number>();
  const unexplained: string[] = [];
  const counts = { compared: 0, bothAccept: 0, bothRefuse: 0 };
  for (const { name, evidence, rows } of cases) {
    const mine = ours(evidence);
    const other = theirs(evidence);
    counts.compared += 1;
    if (agree(mine, other)) {
      counts[mine.ok ? "bothAccept" : "bothRefuse"] += 1;
      continue;
    }
    const row = rows.map(differenceById).find(({ explains }) => explains(mine, other));
    if (row === undefined) unexplained.push(`${name}: ours ${show(mine)}, theirs ${show(other)}`);
    else explained.set(row.id, (explained.get(row.id) ?? 0) + 1);
  }
  return { ...counts, explained, unexplained };
}

/** Rows of the table that nothing has needed. */
export const unusedRows = (used: Iterable<string>): string[] => {
  const set = new Set(used);
  return DIFFERENCES.map(({ id }) => id).filter((id) => !set.has(id));
};

const show = (verdict: Verdict): string =>
  verdict.ok
    ? `accept ${verdict.status} [${verdict.advisories}]`
    : `refuse (${verdict.reasons.join("; ").slice(0, 300)})`;
