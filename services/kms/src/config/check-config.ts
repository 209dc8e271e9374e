import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { join } from "node:path";
import { readTextIfExists } from "@dstack/files";
import type { UnknownKey } from "@dstack/config";
import { insecureSettings } from "./insecure-settings.ts";
import { loadKmsConfig, type KmsConfig } from "./kms-config.ts";
import { keyFolderState } from "../keys/key-files.ts";

export interface Finding {
  /** `insecure`: somebody gets keys, or what guards them, who should not. `note`: the rest of what deserves a look. */
  readonly kind: "insecure" | "note";
  /** As an operator would write it. */
  readonly setting: string;
  readonly reason: string;
}

export interface ConfigCheck {
  readonly file: string | undefined;
  /** The folder's mark, or what it becomes at the first start. */
  readonly environment: string;
  readonly findings: readonly Finding[];
}

/** What `kms.toml` makes of a KMS. @throws ConfigError, KmsError where it would not load */
export async function checkConfig(
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Promise<ConfigCheck> {
  const { config, unknownKeys, withoutEffect } = await loadKmsConfig({ file, env });
  const insecure = insecureSettings(config);
  const mark = (await readTextIfExists(join(config.keyFolder, "environment")))?.trim();
  const hasKeys = (await keyFolderState(config.keyFolder)).kind !== "empty";
  return {
    file,
    environment:
      mark ?? (insecure.length > 0 ? "development (from the first start on)" : "production (from the first start on)"),
    findings: [
      ...insecure.map(({ text, why }): Finding => ({ kind: "insecure", setting: text, reason: why })),
      ...exposures(config, hasKeys),
      ...(mark === "production" && insecure.length > 0
        ? [
            {
              kind: "note" as const,
              setting: `core.cert_dir = "${config.keyFolder}"`,
              reason: "the folder is marked production: a start with these insecure settings is refused",
            },
          ]
        : []),
      ...withoutEffect.map((remark): Finding => ({ kind: "note", ...remark })),
      ...unknownKeys.map(unknownKey),
    ],
  };
}

/** For people: one finding per paragraph. */
export function printCheck({ file, environment, findings }: ConfigCheck): string {
  const found = findings.map(
    ({ kind, setting, reason }) =>
      `${kind === "insecure" ? "INSECURE" : "note    "}  ${setting}\n          ${reason}\n`,
  );
  const count = findings.filter(({ kind }) => kind === "insecure").length;
  return `${file ?? "default configuration"}: key folder ${environment}\n${found.join("")}${count === 0 ? "nothing insecure" : `${count} insecure`}\n`;
}

/** What no switch says: secrets in the clear, doors that stand open. */
function exposures(config: KmsConfig, hasKeys: boolean): Finding[] {
  const findings: Finding[] = [];
  const insecure = (setting: string, reason: string): number => findings.push({ kind: "insecure", setting, reason });
  const note = (setting: string, reason: string): number => findings.push({ kind: "note", setting, reason });
  const { setUp, auth, admin } = config;
  if (!hasKeys && config.onboardEnabled && config.autoBootstrapDomain === "" && !setUp.requireToken) {
    const reason =
      "until there are keys, whoever reaches the set-up page decides where they come from. Set core.onboard.require_token = true";
    (isLocal(setUp.listen.host) ? note : insecure)(`core.onboard.address = "${setUp.listen.host}"`, reason);
  }
  if (
    auth.kind === "webhook" &&
    auth.answerKeys.length === 0 &&
    auth.url.startsWith("http:") &&
    !isLocal(new URL(auth.url).hostname)
  ) {
    insecure(
      `core.auth_api.webhook.url = "${auth.url}"`,
      "whoever is on the way can answer that any app is allowed. Use https, with core.auth_api.webhook.ca_cert for a private authority, or pin the key that signs its answers in core.auth_api.webhook.answer_keys",
    );
  }
  if (admin !== undefined && !isLocal(admin.host))
    insecure(
      `core.admin.address = "${admin.host}"`,
      "administration is plain HTTP: its token or passwords cross the network in the clear. Listen on 127.0.0.1",
    );
  if (config.adminTokenHash.toLowerCase().replace(/^0x/, "") === SHA256_OF_NOTHING)
    insecure(
      "core.admin_token_hash",
      "it is the hash of an empty token: whoever sends none may clear the image cache. Leave it out, or hash a random token",
    );
  if (config.rateLimit.perAddress === 0 || config.rateLimit.perApp === 0)
    note("core.rate_limit", "a limit of 0 lets anonymous callers use up the auth server's quota");
  return findings;
}

const unknownKey = ({ key, suggestion }: UnknownKey): Finding => ({
  kind: "note",
  setting: key,
  reason: `unknown configuration key is ignored${suggestion === undefined ? "" : `; did you mean ${suggestion}?`}`,
});

const SHA256_OF_NOTHING = createHash("sha256").update("").digest("hex");

/** This machine, or a container beside this one: names without a dot are no one else's. */
function isLocal(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, "");
  return isIP(bare) === 0 ? !bare.includes(".") : bare === "::1" || bare.startsWith("127.");
}
