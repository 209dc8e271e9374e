import { readFile } from "node:fs/promises";
import { readTextIfExists } from "@dstack/files";
import {
  changeDocument,
  comparable,
  diffDocuments,
  GovernanceError,
  parsePolicyDocument,
  type PolicyChange,
  type PolicyDifference,
  type PolicyDocument,
} from "@dstack/governance";
import type { AuthBackend } from "./backend.ts";
import { lastRefusal, parseBootRequest, type BootRequest } from "./boot-request.ts";
import { explain } from "./explain.ts";
import { appIdOf, hashOf } from "./hash-from-file.ts";
import { selectBackend, type BackendOptions } from "./select-backend.ts";
import { CliError } from "../terminal/errors.ts";
import { print, printJson, say, table, visible, type OutputFormat } from "../terminal/output.ts";
import type { StackLayout } from "../local/layout.ts";
import { vmmClient } from "../clients/vmm-client.ts";

type Output = { readonly output: OutputFormat };

/** `dstack auth show` */
export async function authShow(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  options: BackendOptions & Output & { readonly app?: string },
): Promise<void> {
  const backend = await selectBackend(layout, env, options);
  const policy = await backend.document();
  const only = options.app === undefined ? undefined : await appIdOf(options.app);
  const apps = Object.entries(policy.apps ?? {}).filter(([id]) => only === undefined || comparable(id) === only);
  if (only !== undefined && apps.length === 0)
    throw new CliError("not-found", `app ${only} is not known to ${backend.name}`);
  if (options.output === "json") return printJson(only === undefined ? policy : { apps: Object.fromEntries(apps) });
  print(`policy      ${visible(backend.name)}`);
  if (only === undefined) {
    print(`gateway     ${visible(policy.gatewayAppId ?? "(none)")}`);
    print(listed("OS images", policy.osImages, "none may boot"));
    print(
      listed("KMS", policy.kms?.mrAggregated, policy.kms?.mrAggregated === undefined ? "any may run" : "none may run"),
    );
    print(
      listed(
        "KMS devices",
        policy.kms?.allowAnyDevice === true ? ["any"] : policy.kms?.devices,
        policy.kms?.devices === undefined ? "any" : "none",
      ),
    );
  }
  for (const [id, rule] of apps) {
    print(`app         ${visible(comparable(id))}`);
    print(listed("  manifests", rule.composeHashes, "none may boot"));
    print(
      listed(
        "  devices",
        rule.allowAnyDevice === true ? ["any"] : rule.devices,
        rule.devices === undefined ? "any" : "none",
      ),
    );
  }
}

const listed = (title: string, values: readonly string[] | undefined, otherwise: string): string =>
  (values === undefined || values.length === 0 ? [otherwise] : values)
    .map((value, index) => `${(index === 0 ? title : "").padEnd(12)}${visible(value)}`)
    .join("\n");

export interface ChangeOptions extends BackendOptions {
  readonly app?: string;
  readonly kms?: boolean;
  readonly output: OutputFormat;
}

/** `dstack auth allow` and `dstack auth deny` */
export async function authChange(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  isAllowed: boolean,
  kind: string,
  value: string | undefined,
  options: ChangeOptions,
): Promise<void> {
  await make(
    await selectBackend(layout, env, options),
    [await changeOf(layout, isAllowed, kind, value, options)],
    options.output,
  );
}

async function changeOf(
  layout: StackLayout,
  isAllowed: boolean,
  kind: string,
  value: string | undefined,
  { app, kms }: ChangeOptions,
): Promise<PolicyChange> {
  const need = (what: string): string => value ?? usage(`${isAllowed ? "allow" : "deny"} ${kind}: ${what} is missing`);
  const ofApp = async (): Promise<string> => appIdOf(app ?? usage(`${kind}: --app is missing`));
  switch (kind) {
    case "app":
      return { kind, app: await appIdOf(need("the app id")), isAllowed };
    case "compose":
      return { kind, app: await ofApp(), value: await hashOf("compose", need("the manifest")), isAllowed };
    case "device": {
      if ((app === undefined) === (kms !== true)) usage("device: say for whom, --app <app id> or --kms");
      const device = await hashOf("device", need("the device id"));
      return kms === true
        ? { kind: "kms-device", value: device, isAllowed }
        : { kind, app: await ofApp(), value: device, isAllowed };
    }
    case "any-device":
      return { kind, app: await ofApp(), isAllowed };
    case "os-image":
      return { kind, value: await hashOf("os-image", need("the image")), isAllowed };
    case "kms":
      return { kind, value: await hashOf("kms", need("the measurement")), isAllowed };
    case "gateway":
      if (!isAllowed) return { kind, value: "" };
      return { kind, value: value ?? (await localGateway(layout)) ?? need("the gateway's app id") };
    default:
      return usage(`"${kind}": expected app, compose, device, any-device, os-image, kms or gateway`);
  }
}

/** The app id of the local deployment's gateway, where there is one. */
async function localGateway(layout: StackLayout): Promise<string | undefined> {
  const digits = (await readTextIfExists(`${layout.gatewayFolder}/app-id`))?.trim();
  return digits === undefined ? undefined : `0x${digits}`;
}

/** Shows what will change, changes it, shows what came of it. */
async function make(backend: AuthBackend, changes: readonly PolicyChange[], output: OutputFormat): Promise<void> {
  const before = await backend.document();
  const differences = diffDocuments(before, changes.reduce(changeDocument, before));
  if (differences.length === 0) {
    if (output === "json") printJson({ changes: [], result: "nothing to change" });
    else print(`nothing to change: it is so already in ${visible(backend.name)}`);
    return;
  }
  if (output === "text") print(`${visible(backend.name)}\n${lines(differences)}`);
  const result = await backend.apply(changes);
  if (output === "json") printJson({ changes: differences, result });
  else print(visible(result).replaceAll("\\x0a", "\n"));
}

const lines = (differences: readonly PolicyDifference[]): string =>
  differences.map(({ sign, path, value }) => `${sign} ${visible(path)} ${visible(value)}`).join("\n");

/** `dstack auth diff`: 0 where both say the same, 3 where not. */
export async function authDiff(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  file: string,
  options: BackendOptions & Output & { readonly apply?: boolean },
): Promise<number> {
  const backend = await selectBackend(layout, env, options);
  const wanted = await readDocument(file);
  const differences = diffDocuments(await backend.document(), wanted);
  if (options.apply === true && differences.length > 0) {
    await make(
      backend,
      differences.flatMap((difference) => changesFor(difference, wanted)),
      options.output,
    );
    return 0;
  }
  if (options.output === "json") printJson(differences);
  else print(differences.length === 0 ? "no difference" : lines(differences));
  return differences.length === 0 ? 0 : 3;
}

async function readDocument(file: string): Promise<PolicyDocument> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new CliError("not-found", `${file} cannot be read`, { cause });
  });
  try {
    return parsePolicyDocument(text);
  } catch (cause) {
    if (cause instanceof GovernanceError) throw new CliError("failed", `${file}: ${cause.message}`, { cause });
    throw cause;
  }
}

/** The changes that make one difference go away. */
function changesFor({ sign, path, value }: PolicyDifference, wanted: PolicyDocument): PolicyChange[] {
  const isAllowed = sign === "+";
  if (value === "(empty)") return [];
  if (path === "gatewayAppId")
    return isAllowed
      ? [{ kind: "gateway", value }]
      : wanted.gatewayAppId === undefined
        ? [{ kind: "gateway", value: "" }]
        : [];
  if (path === "osImages") return [{ kind: "os-image", value, isAllowed }];
  if (path === "kms.mrAggregated") return [{ kind: "kms", value, isAllowed }];
  if (path === "kms.devices") return [{ kind: "kms-device", value, isAllowed }];
  const [, app = "", list] = path.split(".");
  if (app.startsWith("0x") && list === undefined) return [{ kind: "app", app, isAllowed }];
  // Entries of an app that goes altogether go with it.
  if (!isAllowed && !Object.keys(wanted.apps ?? {}).some((id) => comparable(id) === app)) return [];
  if (list === "composeHashes") return [{ kind: "compose", app, value, isAllowed }];
  if (list === "devices") return [{ kind: "device", app, value, isAllowed }];
  if (list === "allowAnyDevice") return [{ kind: "any-device", app, isAllowed }];
  throw new CliError("failed", `${path} cannot be changed by a command`, { hint: "edit the file" });
}

/** `dstack auth explain`: 0 where allowed, 3 where denied. Changes nothing. */
export async function authExplain(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  what: string,
  options: BackendOptions & Output & { readonly auditLog?: string },
): Promise<number> {
  const backend = await selectBackend(layout, env, options);
  const request = await requestFor(layout, env, what, options.auditLog);
  const explanation = await explain(backend, request);
  if (options.output === "json") {
    const { isAllowed, reason, rule, field, value, basis, command } = explanation;
    printJson({ allowed: isAllowed, reason, rule, field, value, basis, command: command ?? null });
    return isAllowed ? 0 : 3;
  }
  const { boot, kind } = request;
  if (request.refused !== undefined)
    print(`refused     at ${visible(request.refused.time)}: ${visible(request.refused.reason)}`);
  print(
    `${kind === "kms" ? "KMS" : "app"}         ${visible(comparable(kind === "kms" ? boot.mrAggregated : boot.appId))}`,
  );
  print(`decided by  ${visible(explanation.basis)}`);
  if (explanation.isAllowed) {
    print("decision    allowed");
    return 0;
  }
  print(
    `decision    denied: ${visible(explanation.reason)}\nrule        ${visible(explanation.rule)}\nvalue       ${explanation.field} = ${visible(explanation.value)}`,
  );
  print(
    explanation.command === undefined
      ? `next        ${visible(explanation.advice)}`
      : `to allow    ${visible(explanation.command)}`,
  );
  return 3;
}

async function requestFor(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  what: string,
  auditLog: string | undefined,
): Promise<BootRequest> {
  const text = await readFile(what, "utf8").catch(() => undefined);
  if (text !== undefined) return parseBootRequest(text) ?? usage(`${what} is no boot request`);
  const digits = comparable(what).slice(2);
  const appId = /^[0-9a-f]{40}$/.test(digits) ? digits : await appNamed(layout, env, what);
  return lastRefusal(auditLog ?? `${layout.kmsFolder}/audit.log`, appId);
}

async function appNamed(layout: StackLayout, env: NodeJS.ProcessEnv, name: string): Promise<string> {
  const client = await vmmClient(layout, env);
  const found = (await client.list()).find((vm) => vm.name === name);
  if (found === undefined)
    throw new CliError("not-found", `"${name}" is neither a file, an app id nor the name of an app here`);
  return found.appId;
}

/** `dstack auth history`: 3 where it cannot be relied on. */
export async function authHistory(
  layout: StackLayout,
  env: NodeJS.ProcessEnv,
  options: BackendOptions & Output & { readonly signedBy?: readonly string[] },
): Promise<number> {
  const backend = await selectBackend(layout, env, options);
  const { lines: entries, broken } = await backend.history(options.signedBy ?? []);
  if (options.output === "json") printJson({ entries, broken: broken ?? null });
  else
    print(
      entries.length === 0
        ? "no changes yet"
        : table(
            ["WHEN", "WHO", "WHAT"],
            entries.flatMap(({ at, by, what }) =>
              what.split("\n").map((line, index) => (index === 0 ? [at, by, line] : ["", "", line])),
            ),
          ),
    );
  if (broken !== undefined) say(`broken: ${visible(broken)}`);
  return broken === undefined ? 0 : 3;
}

/** `dstack auth conformance`: 3 where a behaviour is missing. */
export async function authConformance(
  url: string,
  options: Output & { readonly allowed?: string; readonly token?: string },
): Promise<number> {
  const { checkConformance } = await import("@dstack/governance/conformance");
  const allowed =
    options.allowed === undefined
      ? undefined
      : (parseBootRequest(await readFile(options.allowed, "utf8")) ?? usage(`${options.allowed} is no boot request`));
  const results = await checkConformance({
    url,
    allowed,
    bearerToken: options.token === undefined ? undefined : (await readFile(options.token, "utf8")).trim(),
  });
  const failed = results.filter(({ result }) => result === "fail").length;
  if (options.output === "json") printJson({ ok: failed === 0, results });
  else
    print(
      `${table(
        ["RESULT", "BEHAVIOUR", "WHY"],
        results.map(({ result, behaviour, reason }) => [result, behaviour, reason]),
      )}\n${results.length - failed} of ${results.length} behaviours hold or do not apply`,
    );
  return failed === 0 ? 0 : 3;
}

function usage(message: string): never {
  throw new CliError("usage", message);
}
