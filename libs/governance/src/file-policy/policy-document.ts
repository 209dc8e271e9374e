import { z } from "zod";
import { GovernanceError } from "../errors.ts";
import { comparable } from "./auth-config.ts";

/** One change of policy, whatever keeps the policy. Hex in the form of `comparable`. */
export type PolicyChange =
  | { readonly kind: "os-image" | "kms" | "kms-device"; readonly value: string; readonly isAllowed: boolean }
  | { readonly kind: "compose" | "device"; readonly app: string; readonly value: string; readonly isAllowed: boolean }
  | { readonly kind: "app" | "any-device"; readonly app: string; readonly isAllowed: boolean }
  | { readonly kind: "gateway"; readonly value: string };

const app = z.looseObject({
  composeHashes: z.array(z.string()).optional(),
  devices: z.array(z.string()).optional(),
  allowAnyDevice: z.boolean().optional(),
});
const document = z.looseObject({
  gatewayAppId: z.string().optional(),
  osImages: z.array(z.string()).optional(),
  kms: z
    .looseObject({
      mrAggregated: z.array(z.string()).optional(),
      devices: z.array(z.string()).optional(),
      allowAnyDevice: z.boolean().optional(),
    })
    .optional(),
  apps: z.record(z.string(), app).optional(),
});

/** An auth-config.json as its author wrote it: absent keys stay absent, unknown ones stay. */
export type PolicyDocument = z.output<typeof document>;

/** @throws GovernanceError `config-syntax`, `config-invalid` naming the key */
export function parsePolicyDocument(text: string): PolicyDocument {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new GovernanceError(
      "config-syntax",
      `not valid JSON: ${cause instanceof Error ? cause.message : "unreadable"}`,
      { cause },
    );
  }
  const parsed = document.safeParse(json);
  if (!parsed.success) throw new GovernanceError("config-invalid", z.prettifyError(parsed.error));
  return parsed.data;
}

/** The document with one change made. Pure; without effect where the change holds already. */
export function changeDocument(policy: PolicyDocument, change: PolicyChange): PolicyDocument {
  switch (change.kind) {
    case "gateway":
      return { ...policy, gatewayAppId: change.value };
    case "os-image":
      return { ...policy, osImages: changeList(policy.osImages, change.value, change.isAllowed) };
    case "kms":
      return {
        ...policy,
        kms: { ...policy.kms, mrAggregated: changeList(policy.kms?.mrAggregated, change.value, change.isAllowed) },
      };
    case "kms-device":
      return {
        ...policy,
        kms: { ...policy.kms, devices: changeList(policy.kms?.devices, change.value, change.isAllowed) },
      };
    default:
      return changeApp(policy, change);
  }
}

function changeApp(policy: PolicyDocument, change: Extract<PolicyChange, { readonly app: string }>): PolicyDocument {
  const apps = policy.apps ?? {};
  const key = Object.keys(apps).find((id) => comparable(id) === comparable(change.app)) ?? comparable(change.app);
  if (change.kind === "app" && !change.isAllowed)
    return { ...policy, apps: Object.fromEntries(Object.entries(apps).filter(([id]) => id !== key)) };
  // A new app starts with nothing allowed: absent lists of devices would admit every device.
  const old = apps[key] ?? { composeHashes: [], devices: [] };
  const changed = {
    app: () => old,
    "any-device": () => ({ ...old, allowAnyDevice: change.isAllowed }),
    compose: () => ({
      ...old,
      composeHashes: changeList(old.composeHashes, "value" in change ? change.value : "", change.isAllowed),
    }),
    device: () => ({
      ...old,
      devices: changeList(old.devices, "value" in change ? change.value : "", change.isAllowed),
    }),
  }[change.kind]();
  return { ...policy, apps: { ...apps, [key]: changed } };
}

function changeList(list: readonly string[] | undefined, value: string, isAllowed: boolean): string[] {
  const others = (list ?? []).filter((entry) => comparable(entry) !== comparable(value));
  if (!isAllowed) return others;
  return others.length === (list ?? []).length ? [...others, comparable(value)] : [...(list ?? [])];
}

/** One difference between two policies; `path` as in the file, e.g. `apps.0x….composeHashes`. */
export interface PolicyDifference {
  readonly sign: "+" | "-";
  readonly path: string;
  readonly value: string;
}

/** What the second policy has and lacks compared with the first; order and spelling of entries do not count. */
export function diffDocuments(before: PolicyDocument, after: PolicyDocument): PolicyDifference[] {
  const [old, now] = [facts(before), facts(after)];
  return [
    ...[...old].filter(([key]) => !now.has(key)).map(([, fact]) => ({ sign: "-" as const, ...fact })),
    ...[...now].filter(([key]) => !old.has(key)).map(([, fact]) => ({ sign: "+" as const, ...fact })),
  ].toSorted((a, b) => a.path.localeCompare(b.path) || a.sign.localeCompare(b.sign));
}

function facts(policy: PolicyDocument): Map<string, { readonly path: string; readonly value: string }> {
  const all = new Map<string, { path: string; value: string }>();
  const add = (path: string, value: string): void => void all.set(`${path} ${value}`, { path, value });
  const addList = (path: string, list: readonly string[] | undefined): void => {
    // Absent and empty lists mean different things.
    if (list?.length === 0) add(path, "(empty)");
    for (const entry of list ?? []) add(path, comparable(entry));
  };
  if (policy.gatewayAppId !== undefined) add("gatewayAppId", policy.gatewayAppId);
  addList("osImages", policy.osImages);
  addList("kms.mrAggregated", policy.kms?.mrAggregated);
  addList("kms.devices", policy.kms?.devices);
  if (policy.kms?.allowAnyDevice === true) add("kms.allowAnyDevice", "true");
  for (const [id, rule] of Object.entries(policy.apps ?? {})) {
    const path = `apps.${comparable(id)}`;
    add(path, "(known)");
    addList(`${path}.composeHashes`, rule.composeHashes);
    addList(`${path}.devices`, rule.devices);
    if (rule.allowAnyDevice === true) add(`${path}.allowAnyDevice`, "true");
  }
  return all;
}
