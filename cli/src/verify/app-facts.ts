/** What a verified manifest and its verified surroundings mean for whoever relies on the app. */
import { createHash } from "node:crypto";
import { equalBytes, toHex, utf8 } from "@dstack/bytes";
import type { AppInfo } from "@dstack/attest";
import { ComposeError, isDangerousEnvName, parseAppCompose, type AppCompose } from "@dstack/compose";
import {
  builtServices,
  dockerFindings,
  findingText,
  lintManifest,
  listImages,
  powersOf,
  readComposeFile,
  type Power,
  type ServiceImage,
} from "@dstack/compose/docker";
import type { OsImageVerdict } from "@dstack/verify";
import type { HistoryEntry } from "@dstack/governance/history";
import { earlierVersions } from "./earlier-versions.ts";
import { keyProviderOf } from "./key-provider.ts";
import { platformFacts, type PlatformClaims } from "./platform-tcb.ts";
import type { Fact, Section } from "./fact.ts";
import type { KmsMeta } from "./subject.ts";

export interface AppFactsInput {
  /** Text of app-compose.json whose hash is the measured one. */
  readonly manifest: string;
  readonly app: AppInfo;
  readonly osImage: OsImageVerdict;
  readonly platform: PlatformClaims;
  readonly kmsMeta: KmsMeta | undefined;
  /** SubjectPublicKeyInfo of the key that TLS was seen with. */
  readonly tlsKey: Uint8Array | undefined;
  /** Of the policy that governs the app; undefined where it is not at hand. */
  readonly policyHistory: readonly HistoryEntry[] | undefined;
}

/** Three sections: what runs here, who can change it, what protects it. */
export async function appFacts(input: AppFactsInput): Promise<readonly Section[]> {
  let compose: AppCompose;
  try {
    compose = parseAppCompose(utf8(input.manifest)).compose;
  } catch (error) {
    if (!(error instanceof ComposeError)) throw error;
    return [
      { title: "What runs here", facts: [warning("manifest", `cannot be read by this version: ${error.message}`)] },
    ];
  }
  return [
    { title: "What runs here", facts: await whatRuns(compose, input) },
    { title: "Who can change it", facts: whoCanChange(compose, input) },
    { title: "What protects it", facts: whatProtects(compose, input) },
  ];
}

async function whatRuns(compose: AppCompose, { app, osImage }: AppFactsInput): Promise<Fact[]> {
  const facts: Fact[] = [fact("app", `${compose.name} (${toHex(app.appId)})`), fact("runner", compose.runner)];
  const { metadata, hash } = osImage;
  if (hash !== undefined)
    facts.push(fact("OS image", `${metadata?.version ?? "version not known here"}, ${toHex(hash)}`));
  if (metadata?.is_dev === true) facts.push(warning("OS image", "a development image: its operator can log in"));
  const { dockerComposeFile } = compose;
  if (dockerComposeFile !== undefined) {
    facts.push(...composeFacts(dockerComposeFile, compose));
    facts.push(fact("docker-compose.yaml", dockerComposeFile));
  }
  const scripts: readonly (readonly [string, string | undefined])[] = [
    ...compose.initScripts.map((script, index) => [`init script ${index + 1}`, script] as const),
    ["pre-launch script", compose.preLaunchScript],
    ["bash script", compose.bashScript],
  ];
  for (const [name, script] of scripts) {
    if (script !== undefined && script !== "")
      facts.push(fact(name, `SHA-256 ${createHash("sha256").update(script).digest("hex")}\n${script}`));
  }
  for (const { source, target, verityRoot } of compose.verityVolumes)
    facts.push(fact("volume", `${target} from ${source}, root hash ${toHex(verityRoot)}`));
  if (compose.unknownFields.length > 0)
    facts.push(warning("manifest", `members that this version does not know: ${compose.unknownFields.join(", ")}`));
  return facts;
}

/** The images that run, who may change them, and which services may do more than a container should. */
function composeFacts(dockerComposeFile: string, compose: AppCompose): Fact[] {
  try {
    const file = readComposeFile(utf8(dockerComposeFile), { maySend: [...compose.allowedEnvs, HOST_VARIABLE] });
    return [
      ...listImages(file).map(imageFact),
      ...builtServices(file).map((service) =>
        warning("image", `${service}: is built when the app starts, from whatever its sources are then`),
      ),
      // What docker compose refuses may also be read in another way than here.
      ...dockerFindings(file).map((finding) =>
        warning("docker-compose.yaml", `docker compose would not run it: ${findingText(finding)}`),
      ),
      ...file.doubts.map((doubt) => warning("docker-compose.yaml", doubt)),
      ...powersOf(file).map(powerFact),
      ...lintManifest({ manifest: compose, file, sent: undefined, userConfig: undefined }).flatMap((finding) =>
        SAID_ELSEWHERE.has(finding.code) ? [] : [warning("manifest", findingText(finding))],
      ),
    ];
  } catch (error) {
    if (!(error instanceof ComposeError)) throw error;
    return [warning("image", error.message)];
  }
}

/** Told under who can change the app. */
const SAID_ELSEWHERE: ReadonlySet<string> = new Set(["dangerous-variable"]);

/** What the host sets for every app, allowed or not. */
const HOST_VARIABLE = "PCCS_URL";

function imageFact({ service, image, isPinned, mutableBy }: ServiceImage): Fact {
  if (isPinned) return fact("image", `${service}: ${image ?? ""}`);
  return mutableBy === undefined
    ? warning(
        "image",
        `${service}: ${image ?? ""} is not pinned by digest: whoever controls the registry can change what runs`,
      )
    : warning("image", `${service}: whoever sets the variable ${mutableBy} chooses the image`);
}

/** The agent's socket is what ordinary apps get their keys from. */
const powerFact = ({ service, kind, what }: Power): Fact =>
  kind === "guest-socket"
    ? fact("power", `${service}: ${what}: asks the guest's agent for keys and quotes`)
    : warning("power", `${service}: ${what}: may do more than a container should`);

function whoCanChange(compose: AppCompose, { app, kmsMeta, policyHistory }: AppFactsInput): Fact[] {
  const derived = equalBytes(app.appId, app.composeHash.subarray(0, 20));
  const facts: Fact[] = [
    fact(
      "app id",
      derived ? "made from this very compose file" : "chosen at deployment; not made from this compose file",
    ),
  ];
  const provider = keyProviderOf(app);
  switch (provider?.name) {
    case "kms":
      facts.push(
        fact(
          "keys",
          `from KMS ${provider.id.slice(0, 16)}…${provider.id.slice(-16)}: who it lets run under this app id gets the same keys and data`,
        ),
      );
      facts.push(governance(kmsMeta), earlierVersions(app, policyHistory));
      break;
    case "local-sgx":
      facts.push(
        fact(
          "keys",
          `from the key provider enclave ${provider.id} on the same machine: any other compose file, image or machine gets other keys`,
        ),
      );
      break;
    case "tpm":
      facts.push(fact("keys", "from the machine's TPM, sealed to what was measured"));
      break;
    case "none":
      facts.push(fact("keys", "none are kept: each start begins with new ones, so nothing outlives a change"));
      break;
    default:
      facts.push(warning("keys", `from an unknown provider: ${provider?.name ?? "none is measured"}`));
  }
  if (compose.keyProviderId.length > 0)
    facts.push(fact("key provider", `pinned by the compose file: ${toHex(compose.keyProviderId)}`));
  const dangerous = compose.allowedEnvs.filter(isDangerousEnvName);
  if (compose.allowedEnvs.length > 0)
    facts.push(fact("environment", `its owner may set ${compose.allowedEnvs.join(", ")}; the values are not measured`));
  const launchToken = compose.requirements?.launchTokenHash;
  if (launchToken !== undefined)
    facts.push(fact("launch token", `required, SHA-256 ${launchToken}: who lacks it can set no environment`));
  else if (compose.allowedEnvs.length > 0)
    facts.push(fact("launch token", "none required: the host can replace the whole environment by one of its own"));
  if (dangerous.length > 0) facts.push(warning("environment", `${dangerous.join(", ")} can change what programs do`));
  return facts;
}

function governance(meta: KmsMeta | undefined): Fact {
  if (meta === undefined)
    return fact("allow-list", "kept by whoever governs that KMS; give its URL with --kms to see who");
  if (meta.is_dev) return warning("allow-list", "none: the KMS is a development one");
  const contract = contractOf(meta);
  if (contract !== undefined)
    return fact(
      "allow-list",
      `contract ${contract} on chain ${meta.chain_id ?? "not named"}, as the KMS says; read there who owns it`,
    );
  return fact("allow-list", "kept by an auth server of the KMS's operator, who can add versions at any time");
}

/** The contract that a KMS names. Auth servers without a chain name address zero, or none. */
export function contractOf({ kms_contract_address: address }: KmsMeta): string | undefined {
  return address === undefined || address === null || /^(?:0x)?0*$/.test(address) ? undefined : address;
}

function whatProtects(compose: AppCompose, { app, osImage, platform, tlsKey }: AppFactsInput): Fact[] {
  const commandLine = osImage.metadata?.cmdline ?? "";
  const encryption =
    commandLine
      .split(/\s+/)
      .findLast((word) => word.startsWith("dstack.storage_encrypted="))
      ?.split("=")[1] ?? "true";
  const encrypted = ["1", "true", "yes", "on"].includes(encryption);
  const facts: Fact[] = [
    ...platformFacts("memory", platform),
    osImage.metadata === undefined
      ? fact("disk", "encrypted unless the image's command line says otherwise, which is not at hand")
      : encrypted
        ? fact("disk", "encrypted under the app's key")
        : warning("disk", "not encrypted: the image's command line switches it off"),
    fact("instance", app.instanceId.length === 0 ? "without an id of its own" : toHex(app.instanceId)),
  ];
  // The form that curl takes: whoever connects later can insist on the key that was judged.
  if (tlsKey !== undefined)
    facts.push(
      fact("TLS key", `sha256//${createHash("sha256").update(tlsKey).digest("base64")} (curl --pinnedpubkey)`),
    );
  if (compose.gatewayEnabled)
    facts.push(fact("network", "reached through a gateway, which ends TLS unless the address says passthrough"));
  if (compose.publicLogs) facts.push(warning("logs", "anybody can read the containers' logs (public_logs)"));
  if (compose.publicSysinfo) facts.push(fact("system information", "anybody can read it (public_sysinfo)"));
  return facts;
}

const fact = (name: string, value: string): Fact => ({ name, value });
const warning = (name: string, value: string): Fact => ({ name, value, warning: true });
