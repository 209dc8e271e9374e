import { mkdir } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { readTextIfExists } from "@dstack/files";
import {
  changeDocument,
  comparable,
  diffDocuments,
  GovernanceError,
  parseAuthConfig,
  parsePolicyDocument,
  policyLines,
  readSwitches,
  type PolicyDocument,
  type PolicyLine,
} from "@dstack/governance";
import { writeWithHistory } from "@dstack/governance/history";
import { signingKey } from "@dstack/governance/answers";
import { CliError } from "../terminal/errors.ts";
import type { StackLayout } from "../local/layout.ts";

export interface PolicyFile {
  readonly path: string;
  /** Folder of the operator's own key. */
  readonly keyFolder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The policy of the local deployment. */
export const localPolicy = ({ authConfig, state }: StackLayout): PolicyFile => ({
  path: authConfig,
  keyFolder: state,
  env: {},
});

/** Where the history of a policy file lies: beside it. */
export const historyPathOf = (path: string): string => `${path}.history.jsonl`;

/** The policy as its author wrote it; an empty one where there is no file. @throws CliError */
export async function readPolicyFile(path: string): Promise<PolicyDocument> {
  return documentOf(await readTextIfExists(path), path);
}

/**
 * Changes a policy file and signs the change into its history. Gives what changed; nothing where all was so already.
 * @throws CliError where the file or its history is broken: nothing is changed then
 */
export async function changePolicyFile(
  { path, keyFolder, env }: PolicyFile,
  change: (policy: PolicyDocument) => PolicyDocument,
): Promise<readonly PolicyLine[]> {
  await mkdir(keyFolder, { recursive: true, mode: 0o700 });
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const key = await signingKey(join(keyFolder, "auth-history.key"));
  let lines: readonly PolicyLine[] = [];
  try {
    await writeWithHistory({
      path,
      key,
      historyPath: historyPathOf(path),
      by: `${userInfo().username}@${hostname()}`,
      now: new Date(),
      change: (text) => {
        const before = documentOf(text, path);
        const after = change(before);
        if (JSON.stringify(after) === JSON.stringify(before)) return undefined;
        const written = `${JSON.stringify(after, null, 2)}\n`;
        // What auth-simple would refuse is not written.
        parseAuthConfig(written, readSwitches(env));
        lines = policyLines(diffDocuments(before, after));
        return { text: written, changes: lines };
      },
    });
  } catch (cause) {
    if (cause instanceof GovernanceError) throw new CliError("failed", cause.message, { cause });
    throw cause;
  }
  return lines;
}

export interface Allowance {
  readonly osImageHash: string;
  readonly deviceId: string;
  readonly appId: string;
  readonly composeHash: string;
}

/**
 * The policy with this version allowed beside what is allowed already: image, app, device, compose hash. Which
 * earlier versions may no longer be brought back is decided once this one runs. Pure.
 */
export function allowVersion(
  policy: PolicyDocument,
  { osImageHash, deviceId, appId, composeHash }: Allowance,
): PolicyDocument {
  const known = [
    { kind: "os-image", value: osImageHash, isAllowed: true },
    { kind: "app", app: appId, isAllowed: true },
    { kind: "device", app: appId, value: deviceId, isAllowed: true },
    { kind: "compose", app: appId, value: composeHash, isAllowed: true },
  ] as const;
  return known.reduce<PolicyDocument>(changeDocument, policy);
}

/** The policy without these versions of the app, so that whoever runs the host cannot bring them back. Pure. */
export function withdrawVersions(
  policy: PolicyDocument,
  appId: string,
  composeHashes: readonly string[],
): PolicyDocument {
  if (ruleOf(policy, appId) === undefined) return policy;
  return composeHashes.reduce<PolicyDocument>(
    (document, value) => changeDocument(document, { kind: "compose", app: appId, value, isAllowed: false }),
    policy,
  );
}

/** The policy without the app, where no version of it is allowed any more. Pure. */
export function forgetEmptyApp(policy: PolicyDocument, appId: string): PolicyDocument {
  const rule = ruleOf(policy, appId);
  return rule === undefined || (rule.composeHashes ?? []).length > 0
    ? policy
    : changeDocument(policy, { kind: "app", app: appId, isAllowed: false });
}

/** The compose hashes that the app may boot with, in the form of `comparable`. */
export function allowedVersions(policy: PolicyDocument, appId: string): readonly string[] {
  return (ruleOf(policy, appId)?.composeHashes ?? []).map(comparable);
}

const ruleOf = (policy: PolicyDocument, appId: string): { readonly composeHashes?: string[] | undefined } | undefined =>
  Object.entries(policy.apps ?? {}).find(([id]) => comparable(id) === comparable(appId))?.[1];

/** The policy without OS images that are none of `present`: what is gone from this host may not boot. Pure. */
export function keepImages(policy: PolicyDocument, present: readonly string[]): PolicyDocument {
  return {
    ...policy,
    osImages: (policy.osImages ?? []).filter((hash) => present.some((kept) => comparable(kept) === comparable(hash))),
  };
}

function documentOf(text: string | undefined, path: string): PolicyDocument {
  try {
    return parsePolicyDocument(text ?? "{}");
  } catch (cause) {
    if (!(cause instanceof GovernanceError)) throw cause;
    throw new CliError("failed", `${path} is not a valid authorization file: ${cause.message}`, {
      cause,
      hint: "mend it by hand or restore it; nothing was changed",
    });
  }
}
