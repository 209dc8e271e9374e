import { comparable } from "@dstack/governance";
import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import { appIdOf } from "./hash-from-file.ts";
import type { AuthShowOptions } from "./options.ts";
import { selectBackend } from "./select-backend.ts";

/** `dstack auth show` */
export async function authShow(cli: Cli, options: AuthShowOptions): Promise<void> {
  const { json, print } = cli.out;
  const backend = await selectBackend(cli, options);
  const policy = await backend.document();
  const only = options.app === undefined ? undefined : await appIdOf(options.app);
  const apps = Object.entries(policy.apps ?? {}).filter(([id]) => only === undefined || comparable(id) === only);
  if (only !== undefined && apps.length === 0)
    throw new CliError("not-found", `app ${only} is not known to ${backend.name}`);
  if (options.output === "json") return json(only === undefined ? policy : { apps: Object.fromEntries(apps) });
  print(`policy      ${visible(backend.name)}`);
  if (only === undefined) {
    print(`gateway     ${visible(policy.gatewayAppId ?? "(none)")}`);
    if (policy.allowedTcbStatuses !== undefined)
      print(listed("TCB status", policy.allowedTcbStatuses, "none may boot"));
    if (policy.allowedAdvisoryIds !== undefined) print(listed("advisories", policy.allowedAdvisoryIds, "none"));
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
