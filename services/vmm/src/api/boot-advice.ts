import { readFile } from "node:fs/promises";
import { parseJson, toHex, utf8 } from "@dstack/bytes";
import type { ParsedAppCompose } from "@dstack/compose";
import { findingText, lintManifest, readComposeFile } from "@dstack/compose/docker";
import { askWebhook, FORECAST_LIMIT, hypotheticalBoot } from "@dstack/governance";
import { answerKey } from "@dstack/governance/answers";
import { z } from "zod";
import { VmmError } from "../errors.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { imageHashText, loadGuestImage } from "../launch/guest-image.ts";
import { appIdOf, readCompose } from "../fleet/vm-request.ts";
import type { VmmConfig } from "../config/vmm-config.ts";

/** Whether a boot would be allowed, as far as this VMM can tell. Advice: the KMS asks for itself, whatever is said here. */
export interface BootAdvice {
  /** Null: not known, `reason` says why. */
  readonly allowed: boolean | null;
  readonly reason: string;
  readonly rule: string;
  readonly field: string;
  /** What would change a denial, to be run where the policy is kept. */
  readonly command: string | null;
  /** Hex. */
  readonly app_id: string;
  readonly compose_hash: string;
  /** What is worth a look in the manifest together with its compose file, whatever the policy says. */
  readonly advice: readonly string[];
}

const MAX_USER_CONFIG_CHARS = 8 * 1024 * 1024;

/** A new app, or an update of the VM `id`: what is left out stays as it is. */
const questionSchema = z.object({
  id: z.string().max(64).optional(),
  app_id: z.string().max(64).optional(),
  user_config: z.string().max(MAX_USER_CONFIG_CHARS).optional(),
  image: z.string().max(256).optional(),
  compose_file: z.string().optional(),
});

const TIMEOUT_MS = 10_000;
const NO_DEVICE = "00".repeat(32);

/**
 * Asks the policy about a deployment or update before it is made.
 * @throws VmmError for a request, compose file or image that could not be deployed either
 */
export async function bootAdvice(
  body: string,
  {
    fleet,
    config,
  }: { readonly fleet: Pick<Fleet, "get">; readonly config: Pick<VmmConfig, "authWebhook" | "imagePath"> },
): Promise<BootAdvice> {
  const question = parse(body);
  const vm = question.id === undefined ? undefined : fleet.get(question.id);
  const composeText =
    question.compose_file ?? new TextDecoder().decode((await vm?.folder.readCompose()) ?? new Uint8Array());
  const compose = readCompose(composeText);
  const imageName = question.image ?? vm?.manifest.image;
  if (imageName === undefined) throw new VmmError("request-invalid", "expected image, or the id of a VM that has one");
  const osImageHash = imageHashText(await loadGuestImage(config.imagePath, imageName));
  // An update keeps its app's id whatever the manifest says.
  const app = {
    app_id: vm?.manifest.app_id ?? appIdOf(question.app_id, compose),
    compose_hash: toHex(compose.composeHash),
    advice: manifestAdvice(compose, question.user_config ?? (await keptUserConfig(vm))),
  };
  const unknown = unknownReason(compose, osImageHash, config.authWebhook.url);
  if (unknown !== undefined) return { allowed: null, reason: unknown, rule: "", field: "", command: null, ...app };
  const { url, deviceId, bearerTokenFile, answerKeys } = config.authWebhook;
  const answer = await askWebhook(
    {
      url,
      timeoutMs: TIMEOUT_MS,
      bearerToken: bearerTokenFile === "" ? undefined : () => readToken(bearerTokenFile),
      answerKeys: answerKeys.map(answerKey),
    },
    "app",
    hypotheticalBoot({
      appId: app.app_id,
      composeHash: app.compose_hash,
      osImageHash,
      deviceId: deviceId === "" ? NO_DEVICE : deviceId,
    }),
  );
  switch (answer.kind) {
    case "allowed":
      return { allowed: true, reason: `not checked: ${FORECAST_LIMIT}`, rule: "", field: "", command: null, ...app };
    case "no-answer":
      return { allowed: null, reason: answer.reason, rule: "", field: "", command: null, ...app };
    case "denied": {
      const { reason, rule, field, command } = answer;
      // Everything else is in order then: the device is looked at last.
      if (field === "deviceId" && deviceId === "")
        return {
          allowed: null,
          reason: `only some devices may boot this app, and this VMM does not know its own: set auth_webhook.device_id`,
          rule,
          field,
          command: null,
          ...app,
        };
      return { allowed: false, reason, rule, field, command: command ?? null, ...app };
    }
    default:
      return answer satisfies never;
  }
}

/** @throws Error, without what stands in the file */
async function readToken(path: string): Promise<string> {
  const token = (await readFile(path, "utf8")).trim();
  if (token === "") throw new VmmError("config-invalid", `auth_webhook.bearer_token_file: ${path} is empty`);
  return token;
}

async function keptUserConfig(vm: ReturnType<Fleet["get"]> | undefined): Promise<string | undefined> {
  const kept = (await vm?.folder.readVersion(vm.manifest))?.userConfig;
  return kept === undefined ? undefined : new TextDecoder().decode(kept);
}

function manifestAdvice({ compose }: ParsedAppCompose, userConfig: string | undefined): readonly string[] {
  const { runner, dockerComposeFile } = compose;
  // Only a runner that reads the file has it checked.
  const file =
    runner !== "docker-compose" || dockerComposeFile === undefined
      ? undefined
      : readComposeFile(utf8(dockerComposeFile));
  return lintManifest({ manifest: compose, file, sent: undefined, userConfig: userConfig || undefined }).map(
    findingText,
  );
}

function parse(body: string): z.output<typeof questionSchema> {
  try {
    return questionSchema.parse(parseJson(body));
  } catch (cause) {
    throw new VmmError(
      "request-invalid",
      `expected JSON with compose_file and image, or with id: ${cause instanceof z.ZodError ? z.prettifyError(cause) : "not JSON"}`,
      { cause },
    );
  }
}

function unknownReason({ compose }: ParsedAppCompose, osImageHash: string, url: string): string | undefined {
  if (compose.keyProvider !== "kms") return "this app asks no KMS for keys, so no policy applies to it";
  if (url === "") return "this VMM does not know the policy: auth_webhook.url is not set";
  return osImageHash === "" ? "the image has no hash that a policy could name" : undefined;
}
