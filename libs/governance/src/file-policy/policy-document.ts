import { parseJson } from "@dstack/bytes";
import { z } from "zod";
import { GovernanceError } from "../errors.ts";
import { comparable } from "./auth-config.ts";

/** One change of policy, whatever keeps the policy. Hex in the form of `comparable`; advisories and statuses as Intel writes them. */
export type PolicyChange =
  | { readonly kind: "advisory" | "status"; readonly value: string; readonly isAllowed: boolean }
  | { readonly kind: "os-image" | "kms" | "kms-device"; readonly value: string; readonly isAllowed: boolean }
  | { readonly kind: "compose" | "device"; readonly app: string; readonly value: string; readonly isAllowed: boolean }
  | { readonly kind: "app"; readonly app: string; readonly isAllowed: boolean }
  | { readonly kind: "any-device"; readonly app: string; readonly isAllowed: boolean }
  | { readonly kind: "gateway"; readonly value: string };

const app = z.looseObject({
  composeHashes: z.array(z.string()).optional(),
  devices: z.array(z.string()).optional(),
  allowAnyDevice: z.boolean().optional(),
});
const document = z.looseObject({
  gatewayAppId: z.string().optional(),
  osImages: z.array(z.string()).optional(),
  allowedTcbStatuses: z.array(z.string()).optional(),
  allowedAdvisoryIds: z.array(z.string()).optional(),
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
    json = parseJson(text, "file");
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
    case "advisory":
      return {
        ...policy,
        allowedAdvisoryIds: changeTexts(policy.allowedAdvisoryIds ?? [], change.value, change.isAllowed),
      };
    case "status":
      return { ...policy, allowedTcbStatuses: changeTexts(allowedStatuses(policy), change.value, change.isAllowed) };
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

/** What counts where the file does not say it: the one status that is current. */
export const allowedStatuses = ({ allowedTcbStatuses = ["UpToDate"] }: PolicyDocument): readonly string[] =>
  allowedTcbStatuses;

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

/** Names, not hex: they are compared as they are written. */
const changeTexts = (list: readonly string[], value: string, isAllowed: boolean): string[] =>
  isAllowed && list.includes(value)
    ? [...list]
    : [...list.filter((entry) => entry !== value), ...(isAllowed ? [value] : [])];
