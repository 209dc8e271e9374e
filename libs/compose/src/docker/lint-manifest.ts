/**
 * What a manifest, its compose file and what is sent beside them mean together. In come values
 * that were read; out goes advice. The guest accepts all of it.
 */
import { isDangerousEnvName } from "../environment.ts";
import type { AppCompose } from "../manifest/app-compose.ts";
import type { Finding, FindingCode } from "./finding.ts";
import { childrenOf, isUnknown, memberOf, textOf, type ComposeNode } from "./node.ts";
import { pairsOf } from "./merge.ts";
import type { ComposeFile } from "./read-compose-file.ts";

export interface ManifestQuestion {
  readonly manifest: AppCompose;
  /** The manifest's compose file, read with the variables that are sent; undefined for another runner. */
  readonly file: ComposeFile | undefined;
  /** Names of the variables that are sent; undefined where that is not known. */
  readonly sent: ReadonlySet<string> | undefined;
  /** The text that the host puts beside the manifest; undefined where there is none. */
  readonly userConfig?: string | undefined;
}

export function lintManifest({ manifest, file, sent, userConfig }: ManifestQuestion): readonly Finding[] {
  const findings: Finding[] = [];
  const add = (code: FindingCode, path: string, message: string, line?: number): void =>
    void findings.push({ severity: "advice", code, path, service: undefined, line, message });
  const dangerous = manifest.allowedEnvs.filter(isDangerousEnvName);
  if (dangerous.length > 0)
    add(
      "dangerous-variable",
      "allowed_envs",
      `${dangerous.join(", ")}: whoever sends the environment changes with it how the guest's own programs run`,
    );
  if (manifest.noInstanceId)
    add(
      "one-disk-key",
      "no_instance_id",
      "all instances of the app have one disk key: who holds the disk of one can start another with it",
    );
  if (looksLikeGate(manifest.preLaunchScript ?? ""))
    add(
      "gate-in-pre-launch",
      "pre_launch_script",
      "a script that ends with an error is no gate: keys are there before it runs, and Docker starts containers with a restart policy without it",
    );
  if (userConfig === undefined ? readsUserConfig(manifest, file) : namesIdentity(userConfig))
    add(
      "identity-in-user-config",
      "user_config",
      "user_config is not measured, and the host chooses it: nothing in it proves who this is; put identity into the manifest, or derive it from the app's keys",
    );
  if (file !== undefined && sent !== undefined)
    for (const [name, line] of unsent(file, sent))
      add(
        "variable-not-sent",
        "",
        `the variable ${name} is used and never sent; it will be empty unless a script sets it`,
        line,
      );
  return findings;
}

/** Ends by itself with an error, or checks a signature or hash. */
const looksLikeGate = (script: string): boolean =>
  /\b(?:exit|return)\s+[1-9]|\|\|\s*(?:exit|return|false)\b|\b(?:cosign|gpgv?|minisign|sha(?:1|256|512)sum)\b/.test(
    script,
  );

const readsUserConfig = (
  { preLaunchScript, bashScript, initScripts }: AppCompose,
  file: ComposeFile | undefined,
): boolean =>
  [preLaunchScript ?? "", bashScript ?? "", ...initScripts, file?.text ?? ""].some((text) =>
    /\/dstack\/\.?user[_-]config\b|host-shared\/\.user-config\b/.test(text),
  );

const namesIdentity = (userConfig: string): boolean =>
  /"?\b(?:[a-z_]*(?:app|instance|node|account|device|client|user|owner|signer)_?id|identity|owner|signer|account|public_?key|private_?key|address)\b"?\s*[:=]/i.test(
    userConfig,
  );

/** Variables that decide a value and are not known, with the first line of each; also those handed through by name. */
function unsent(file: ComposeFile, sent: ReadonlySet<string>): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  const add = (name: string, { place }: ComposeNode): void => {
    if (!sent.has(name) && !GIVEN_VARIABLES.has(name) && !found.has(name)) found.set(name, place.line);
  };
  const seen = new Set<ComposeNode>();
  const walk = (node: ComposeNode): void => {
    if (seen.has(node)) return;
    seen.add(node);
    if (node.kind === "scalar" && isUnknown(node)) for (const name of node.variables) add(name, node);
    for (const child of childrenOf(node)) walk(child);
  };
  for (const [key, node] of file.root.entries) if (!key.startsWith("x-")) walk(node);
  for (const { node } of file.services)
    for (const [name, value] of pairsOf(memberOf(node, "environment")))
      if (value.kind === "scalar" && value.value === null) add(name, value);
  for (const section of ["secrets", "configs"])
    for (const node of childrenOf(memberOf(file.root, section) ?? file.root)) {
      const variable = textOf(memberOf(node, "environment"));
      if (variable !== undefined && memberOf(file.root, section) !== undefined) add(variable, node);
    }
  return found;
}

/** What every app is started with besides its own variables; PCCS_URL where the host names one. */
export const GIVEN_VARIABLES: ReadonlySet<string> = new Set(["PATH", "HOME", "LANG", "PCCS_URL"]);
