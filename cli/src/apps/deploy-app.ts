import { readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { toHex } from "@dstack/bytes";
import {
  appIdFromComposeHash,
  buildAppCompose,
  ComposeError,
  lintDockerCompose,
  type AppComposeOptions,
  type ParsedAppCompose,
} from "@dstack/compose";
import { ImageError, readImageDirectory } from "@dstack/image";
import {
  askWebhook,
  hypotheticalBoot,
  type BootInfo,
  type PolicyDifference,
  type WebhookAnswer,
} from "@dstack/governance";
import type { EnvPair } from "@dstack/keys";
import type { vmm } from "@dstack/proto";
import { explain } from "../auth/explain.ts";
import { fileBackend } from "../auth/file-backend.ts";
import { allowVersion, changePolicyFile, localPolicy, type Allowance } from "../auth/policy-file.ts";
import { CliError } from "../terminal/errors.ts";
import { externalWebhook, WEBHOOK_TIMEOUT_MS } from "../local/auth-webhook.ts";
import type { StackLayout } from "../local/layout.ts";
import { digestLookup } from "../clients/registry-client.ts";
import { stopVm } from "./lifecycle.ts";
import { vmmMethods, type VmmClient } from "../clients/vmm-client.ts";
import { DEVELOPMENT_DEVICE_ID } from "../local/development-device.ts";
import { encryptEnvironment } from "./environment.ts";
import { pinImages, type ResolvedReference } from "../clients/image-references.ts";
import type { PortArgument } from "../terminal/ports.ts";

export interface DeployRequest {
  readonly composeFile: string;
  readonly name: string;
  readonly environment: readonly EnvPair[];
  readonly ports: readonly PortArgument[];
  readonly image: string;
  readonly vcpu: number;
  readonly memoryMib: number;
  readonly diskGib: number;
  readonly secureTime: boolean;
  readonly storageFs: string;
  readonly publicLogs: boolean;
  readonly allowMutable: boolean;
  /** Whether the policy is changed to allow this version; otherwise it must allow it already. */
  readonly allow: boolean;
  /** Whether the policy is asked before anything is created. */
  readonly check: boolean;
  /** Hex, 20 bytes; the first bytes of the compose hash where undefined. */
  readonly appId: string | undefined;
}

export interface Deployment {
  readonly vmId: string;
  readonly appId: string;
  readonly composeHash: string;
  readonly yamlText: string;
  readonly resolved: readonly ResolvedReference[];
  readonly warnings: readonly string[];
  /** What the policy was changed by. */
  readonly policyChanges: readonly PolicyDifference[];
  /** Whether an app of that name was there already and keeps its id, keys and disk. */
  readonly updated: boolean;
}

const COMPOSE_FILE_LIMIT_BYTES = 8 * 1024 * 1024;

/**
 * The manifest's bytes, their hash on the allow-list, the environment encrypted to the app, and
 * the VM created or updated and started. Nothing is changed before everything that can be
 * checked here has been.
 * @throws CliError, RpcError
 */
export async function deployApp(client: VmmClient, layout: StackLayout, request: DeployRequest): Promise<Deployment> {
  const image = await readImage(layout, request.image);
  const source = await readComposeFile(request.composeFile);
  const findings = lintDockerCompose(source);
  const errors = findings.filter(({ severity }) => severity === "error");
  if (errors.length > 0) {
    throw new CliError(
      "failed",
      `${basename(request.composeFile)} cannot run as a confidential app:\n${errors.map(({ message, line }) => `  ${line === undefined ? "" : `line ${line}: `}${message}`).join("\n")}`,
      { hint: "nothing was deployed" },
    );
  }
  const { text: yamlText, resolved } = await pinImages(
    source,
    digestLookup(`http://127.0.0.1:${layout.ports.registry}`),
    request.allowMutable,
  );
  const manifest = manifestOf(request, yamlText);
  const composeHash = toHex(manifest.composeHash);
  const existing = (await client.list()).find((vm) => vm.name === request.name);
  if (existing !== undefined && request.appId !== undefined && request.appId !== existing.appId) {
    throw new CliError("usage", `${request.name} is there already and is app ${existing.appId}, not ${request.appId}`, {
      hint: `take another name, or remove it first: dstack rm ${request.name}`,
    });
  }
  const appId = existing?.appId ?? request.appId ?? toHex(appIdFromComposeHash(manifest.composeHash));
  const encryptedEnv =
    request.environment.length === 0
      ? new Uint8Array()
      : await encryptEnvironment(client, layout, appId, request.environment);
  const allowance = { osImageHash: image, deviceId: DEVELOPMENT_DEVICE_ID, appId, composeHash };
  const webhook = await externalWebhook(layout);
  // A policy that others keep is theirs to change.
  const policyChanges =
    request.allow && webhook === undefined
      ? await changePolicyFile(localPolicy(layout), (policy) => allowVersion(policy, allowance))
      : [];
  if (request.check) await requireAllowed(layout, webhook, allowance);
  const composeText = new TextDecoder().decode(manifest.bytes);
  const vmId =
    existing === undefined
      ? await create(client, request, composeText, appId, encryptedEnv)
      : await update(client, existing, request, composeText, encryptedEnv);
  return {
    vmId,
    appId,
    composeHash,
    yamlText,
    resolved,
    policyChanges,
    updated: existing !== undefined,
    warnings: lintDockerCompose(yamlText).map(
      ({ message, line }) => `${line === undefined ? "" : `line ${line}: `}${message}`,
    ),
  };
}

/** Before anything is created: a boot that would be refused is refused here, with the rule and what would change it. @throws CliError `denied` */
async function requireAllowed(layout: StackLayout, webhook: string | undefined, allowance: Allowance): Promise<void> {
  const boot = hypotheticalBoot(allowance);
  const answer =
    webhook === undefined
      ? await askFile(layout, boot)
      : await askWebhook({ url: webhook, timeoutMs: WEBHOOK_TIMEOUT_MS }, "app", boot);
  if (answer.kind === "allowed") return;
  if (answer.kind === "no-answer")
    throw new CliError("failed", `it is not known whether this version may boot: ${answer.reason}`, {
      hint: "nothing was deployed; --no-check deploys without asking first",
    });
  const { reason, rule, field, command } = answer;
  const why = rule === "" ? "" : ` (rule ${rule}, field ${field})`;
  throw new CliError("denied", `this version may not boot: ${reason}${why}`, {
    hint: `nothing was deployed${command === undefined ? "" : `; to allow it: ${command}`}`,
  });
}

async function askFile(layout: StackLayout, boot: BootInfo): Promise<WebhookAnswer> {
  const { isAllowed, reason, rule, field, command } = await explain(fileBackend(localPolicy(layout), false), {
    kind: "app",
    boot,
  });
  return isAllowed ? { kind: "allowed" } : { kind: "denied", reason, rule, field, command };
}

/** The text of a compose file of sensible size. @throws CliError */
export async function readComposeFile(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > COMPOSE_FILE_LIMIT_BYTES)
      throw new CliError("failed", `${path} has ${size} bytes, at most ${COMPOSE_FILE_LIMIT_BYTES} are accepted`, {
        hint: "put data into an image or a volume",
      });
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path));
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError("failed", `${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/** The hash of a guest OS image on this host, as the KMS will see it. @throws CliError */
async function readImage(layout: StackLayout, name: string): Promise<string> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    throw new CliError("usage", `image name "${name}": expected letters, digits, dots, dashes and underscores`);
  try {
    const { osImageHash } = await readImageDirectory(join(layout.images, name));
    if (osImageHash === undefined) throw new CliError("failed", `image ${name} has no sha256sum.txt and so no hash`);
    return toHex(osImageHash);
  } catch (cause) {
    if (cause instanceof ImageError)
      throw new CliError("not-found", `image ${name} cannot be used: ${cause.message}`, {
        cause,
        hint: "`dstack image list` shows what is there, `dstack image build` makes one",
      });
    throw cause;
  }
}

function manifestOf(request: DeployRequest, yamlText: string): ParsedAppCompose {
  try {
    return buildAppCompose({
      name: request.name,
      dockerComposeFile: yamlText,
      allowedEnvs: request.environment.map(({ key }) => key),
      publicLogs: request.publicLogs,
      secureTime: request.secureTime,
      storageFs: request.storageFs as NonNullable<AppComposeOptions["storageFs"]>,
    });
  } catch (cause) {
    if (cause instanceof ComposeError) throw new CliError("usage", cause.message, { cause });
    throw cause;
  }
}

async function create(
  client: VmmClient,
  request: DeployRequest,
  composeText: string,
  appId: string,
  encryptedEnv: Uint8Array,
): Promise<string> {
  const { id } = await client.call(vmmMethods.createVm, {
    name: request.name,
    image: request.image,
    composeFile: composeText,
    vcpu: request.vcpu,
    memory: request.memoryMib,
    diskSize: request.diskGib,
    ports: request.ports.map((port) => ({ ...port })),
    encryptedEnv,
    appId,
    simulatedTee: "dstack-tdx",
  });
  return id;
}

/** An update keeps app id, instance id and disk: the app's keys and data stay the same. */
async function update(
  client: VmmClient,
  existing: vmm.VmInfo,
  request: DeployRequest,
  composeText: string,
  encryptedEnv: Uint8Array,
): Promise<string> {
  await stopVm(client, existing.id, false);
  await client.call(vmmMethods.updateVm, {
    id: existing.id,
    composeFile: composeText,
    encryptedEnv,
    updatePorts: true,
    ports: request.ports.map((port) => ({ ...port })),
  });
  await client.call(vmmMethods.startVm, { id: existing.id });
  return existing.id;
}
