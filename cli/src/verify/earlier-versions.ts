import { toHex } from "@dstack/bytes";
import type { AppInfo } from "@dstack/attest";
import { comparable } from "@dstack/governance";
import { checkHistory, type HistoryEntry } from "@dstack/governance/history";
import { readTextIfExists } from "@dstack/files";
import { historyPathOf } from "../auth/policy-file.ts";
import type { Fact } from "./fact.ts";

/**
 * The policy's history beside its file; undefined where there is none that holds.
 * @param policyFile e.g. the local deployment's
 */
export async function readPolicyHistory(policyFile: string): Promise<readonly HistoryEntry[] | undefined> {
  const text = await readTextIfExists(historyPathOf(policyFile));
  if (text === undefined) return undefined;
  const { entries, broken } = checkHistory(text);
  return broken === undefined ? entries : undefined;
}

/**
 * Which other versions were ever allowed for the app: each may have run on its disk, and what one with powers over
 * Docker or the guest left there outlives it.
 * @param history of the policy that governs the app; undefined where it is not at hand
 */
export function earlierVersions(app: AppInfo, history: readonly HistoryEntry[] | undefined): Fact {
  const name = "other versions";
  if (history === undefined)
    return {
      name,
      value:
        "the policy's history says which were allowed on this app's disk (dstack auth history); one with powers over " +
        "Docker or the guest may have left volumes and files there that this one reads",
    };
  const present = comparable(toHex(app.composeHash));
  const since = new Map<string, string>();
  for (const { at, changes } of history)
    for (const { sign, path, value } of changes)
      if (sign === "+" && isOf(path, app) && COMPOSE_HASH.test(value) && comparable(value) !== present)
        since.set(comparable(value), since.get(comparable(value)) ?? at);
  const [first] = history;
  if (first === undefined)
    return { name, warning: true, value: "the policy's history is empty: it does not say which were allowed before" };
  const begin = `the policy's history, which begins at ${first.at}`;
  if (since.size === 0) return { name, value: `none was allowed on this app's disk, says ${begin}` };
  const listed = [...since].slice(-MAX_LISTED).map(([hash, at]) => `${hash} since ${at}`);
  return {
    name,
    warning: true,
    value:
      `${since.size} allowed on this app's disk, says ${begin}: what one with powers over Docker or the guest ` +
      `left in volumes and files may still be read by this one\n${listed.join("\n")}`,
  };
}

const MAX_LISTED = 10;
/** A list that was empty is written in words. */
const COMPOSE_HASH = /^(?:0x)?[0-9a-f]{64}$/i;

function isOf(path: string, app: AppInfo): boolean {
  const [, id] = /^apps\.([^.]+)\.composeHashes$/.exec(path) ?? [];
  return id !== undefined && comparable(id) === comparable(toHex(app.appId));
}
