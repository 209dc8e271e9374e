/**
 * What sets two policies apart, as the changes that would make the one the other. A line of text is what a difference
 * looks like; nothing is read back from it.
 */
import { comparable } from "./auth-config.ts";
import { allowedStatuses } from "./policy-document.ts";
import type { PolicyChange, PolicyDocument } from "./policy-document.ts";

type AppRule = NonNullable<PolicyDocument["apps"]>[string];

/** A list of a policy: the whole deployment's, or an app's. */
export type PolicyList =
  | { readonly kind: "os-image" | "kms" | "kms-device" }
  | { readonly kind: "compose" | "device"; readonly app: string };

/**
 * One difference, from the first policy to the second. Most are the change itself; `empty-list` (a list that is there
 * and empty, where absent means something else) and `kms-any-device` are what no change of `PolicyChange` makes.
 */
export type PolicyDifference =
  | Exclude<PolicyChange, { readonly kind: "gateway" | "app" }>
  | { readonly kind: "app"; readonly app: string; readonly isAllowed: true }
  /** Its entries go with it. */
  | { readonly kind: "app"; readonly app: string; readonly isAllowed: false; readonly entries: AppRule }
  | { readonly kind: "gateway"; readonly before: string | undefined; readonly after: string | undefined }
  | { readonly kind: "empty-list"; readonly list: PolicyList; readonly isEmpty: boolean }
  | { readonly kind: "kms-any-device"; readonly isAllowed: boolean };

/** How a difference reads, and how a history keeps it; `path` as in the file, e.g. `apps.0x….composeHashes`. */
export interface PolicyLine {
  readonly sign: "+" | "-";
  readonly path: string;
  readonly value: string;
}

/** What the second policy has and lacks compared with the first; order and spelling of entries do not count. Pure. */
export function diffDocuments(before: PolicyDocument, after: PolicyDocument): PolicyDifference[] {
  const [old, now] = [appsOf(before), appsOf(after)];
  const anyKmsDevice = after.kms?.allowAnyDevice === true;
  return [
    ...(before.gatewayAppId === after.gatewayAppId
      ? []
      : [{ kind: "gateway", before: before.gatewayAppId, after: after.gatewayAppId } as const]),
    ...diffTexts("status", allowedStatuses(before), allowedStatuses(after)),
    ...diffTexts("advisory", before.allowedAdvisoryIds ?? [], after.allowedAdvisoryIds ?? []),
    ...diffList({ kind: "os-image" }, before.osImages, after.osImages),
    ...diffList({ kind: "kms" }, before.kms?.mrAggregated, after.kms?.mrAggregated),
    ...diffList({ kind: "kms-device" }, before.kms?.devices, after.kms?.devices),
    ...((before.kms?.allowAnyDevice === true) === anyKmsDevice
      ? []
      : [{ kind: "kms-any-device", isAllowed: anyKmsDevice } as const]),
    ...[...old].flatMap(([app, entries]): PolicyDifference[] =>
      now.has(app) ? [] : [{ kind: "app", app, isAllowed: false, entries }],
    ),
    ...[...now].flatMap(([app, rule]): PolicyDifference[] => {
      const had = old.get(app);
      return had === undefined
        ? [{ kind: "app", app, isAllowed: true }, ...diffApp(app, {}, rule)]
        : diffApp(app, had, rule);
    }),
  ];
}

/** The differences as lines, in the order of their paths. Pure. */
export function policyLines(differences: readonly PolicyDifference[]): PolicyLine[] {
  return differences.flatMap(linesOf).toSorted((a, b) => a.path.localeCompare(b.path) || a.sign.localeCompare(b.sign));
}

function diffApp(app: string, before: AppRule, after: AppRule): PolicyDifference[] {
  const isAllowed = after.allowAnyDevice === true;
  return [
    ...diffList({ kind: "compose", app }, before.composeHashes, after.composeHashes),
    ...diffList({ kind: "device", app }, before.devices, after.devices),
    ...((before.allowAnyDevice === true) === isAllowed ? [] : [{ kind: "any-device", app, isAllowed } as const]),
  ];
}

function diffList(
  list: PolicyList,
  before: readonly string[] | undefined,
  after: readonly string[] | undefined,
): PolicyDifference[] {
  const [old, now] = [[...new Set(before?.map(comparable))], [...new Set(after?.map(comparable))]];
  const isEmpty = after?.length === 0;
  return [
    ...((before?.length === 0) === isEmpty ? [] : [{ kind: "empty-list", list, isEmpty } as const]),
    ...old.filter((value) => !now.includes(value)).map((value) => ({ ...list, value, isAllowed: false })),
    ...now.filter((value) => !old.includes(value)).map((value) => ({ ...list, value, isAllowed: true })),
  ];
}

/** Lists that mean the same when they are absent as with what counts then: so none is told as empty. */
function diffTexts(
  kind: "status" | "advisory",
  before: readonly string[],
  after: readonly string[],
): PolicyDifference[] {
  const [old, now] = [[...new Set(before)], [...new Set(after)]];
  return [
    ...old.filter((value) => !now.includes(value)).map((value) => ({ kind, value, isAllowed: false })),
    ...now.filter((value) => !old.includes(value)).map((value) => ({ kind, value, isAllowed: true })),
  ];
}

/** The apps by their id's one spelling; what stands under several counts as one app's. */
function appsOf(policy: PolicyDocument): ReadonlyMap<string, AppRule> {
  const all = new Map<string, AppRule>();
  for (const [id, rule] of Object.entries(policy.apps ?? {})) {
    const known = all.get(comparable(id));
    all.set(comparable(id), known === undefined ? rule : joined(known, rule));
  }
  return all;
}

const joined = (one: AppRule, other: AppRule): AppRule => ({
  composeHashes: [...(one.composeHashes ?? []), ...(other.composeHashes ?? [])],
  devices: [...(one.devices ?? []), ...(other.devices ?? [])],
  allowAnyDevice: one.allowAnyDevice === true || other.allowAnyDevice === true,
});

function linesOf(difference: PolicyDifference): PolicyLine[] {
  switch (difference.kind) {
    case "gateway": {
      const path = "gatewayAppId";
      const { before, after } = difference;
      return [
        ...(before === undefined ? [] : [{ sign: "-", path, value: before } as const]),
        ...(after === undefined ? [] : [{ sign: "+", path, value: after } as const]),
      ];
    }
    case "empty-list":
      return [{ sign: signOf(difference.isEmpty), path: pathOf(difference.list), value: "(empty)" }];
    case "kms-any-device":
      return [{ sign: signOf(difference.isAllowed), path: "kms.allowAnyDevice", value: "true" }];
    case "any-device":
      return [{ sign: signOf(difference.isAllowed), path: `apps.${difference.app}.allowAnyDevice`, value: "true" }];
    case "status":
      return [{ sign: signOf(difference.isAllowed), path: "allowedTcbStatuses", value: difference.value }];
    case "advisory":
      return [{ sign: signOf(difference.isAllowed), path: "allowedAdvisoryIds", value: difference.value }];
    case "app":
      return [
        { sign: signOf(difference.isAllowed), path: `apps.${difference.app}`, value: "(known)" },
        ...(difference.isAllowed ? [] : diffApp(difference.app, difference.entries, {}).flatMap(linesOf)),
      ];
    default:
      return [{ sign: signOf(difference.isAllowed), path: pathOf(difference), value: difference.value }];
  }
}

const signOf = (isThere: boolean): "+" | "-" => (isThere ? "+" : "-");

function pathOf(list: PolicyList): string {
  switch (list.kind) {
    case "os-image":
      return "osImages";
    case "kms":
      return "kms.mrAggregated";
    case "kms-device":
      return "kms.devices";
    case "compose":
      return `apps.${list.app}.composeHashes`;
    case "device":
      return `apps.${list.app}.devices`;
  }
}
