import { utf8 } from "@dstack/bytes";
import { parseAppCompose, type KeyProvider, type ParsedAppCompose, type StorageFs } from "./app-compose.ts";
import { isDangerousEnvName, isEnvName } from "../environment.ts";
import { ComposeError } from "../errors.ts";

export interface AppComposeOptions {
  readonly name: string;
  /** Text of docker-compose.yaml, carried verbatim. */
  readonly dockerComposeFile: string;
  /** `kms` unless given. */
  readonly keyProvider?: KeyProvider;
  /** Hex of the pinned provider identity; nothing pinned unless given. */
  readonly keyProviderId?: string;
  /** On unless given. */
  readonly gatewayEnabled?: boolean;
  readonly allowedEnvs?: readonly string[];
  /** Off unless given: container output is private (audit row 08). */
  readonly publicLogs?: boolean;
  readonly publicSysinfo?: boolean;
  /** On unless given: without it nobody can verify the app from outside. */
  readonly publicTcbinfo?: boolean;
  readonly noInstanceId?: boolean;
  /** Wait for network time before keys are asked for; on unless given. */
  readonly secureTime?: boolean;
  readonly storageFs?: StorageFs;
  /** Bytes or a size such as `1G`. */
  readonly swapSize?: number | string;
  readonly preLaunchScript?: string;
}

/**
 * The exact bytes of a new app-compose.json with its hash: what is deployed, measured and put on
 * an allow-list. Same options, same bytes.
 * @throws ComposeError when the result would not be accepted by a guest
 */
export function buildAppCompose(options: AppComposeOptions): ParsedAppCompose {
  checkName(options.name);
  const provider = options.keyProvider ?? "kms";
  const manifest = {
    manifest_version: 2,
    name: options.name,
    runner: "docker-compose",
    docker_compose_file: options.dockerComposeFile,
    kms_enabled: provider === "kms",
    gateway_enabled: options.gatewayEnabled ?? true,
    local_key_provider_enabled: provider === "local",
    key_provider_id: options.keyProviderId ?? "",
    public_logs: options.publicLogs ?? false,
    public_sysinfo: options.publicSysinfo ?? false,
    public_tcbinfo: options.publicTcbinfo ?? true,
    allowed_envs: checkAllowedEnvs(options.allowedEnvs ?? []),
    no_instance_id: options.noInstanceId ?? false,
    secure_time: options.secureTime ?? true,
    key_provider: provider,
    ...(options.preLaunchScript === undefined ? {} : { pre_launch_script: options.preLaunchScript }),
    ...(options.swapSize === undefined ? {} : { swap_size: options.swapSize }),
    ...(options.storageFs === undefined ? {} : { storage_fs: options.storageFs }),
  };
  return parseAppCompose(utf8(JSON.stringify(manifest, null, 4)));
}

function checkName(name: string): void {
  if (name === "" || name.length > 128)
    throw new ComposeError("manifest-invalid", `app name: expected 1 to 128 characters, got ${name.length}`);
  if (/[\p{Cc}\p{Cf}\u2028\u2029]/u.test(name))
    throw new ComposeError("manifest-invalid", `app name ${JSON.stringify(name)}: control characters are not accepted`);
}

function checkAllowedEnvs(names: readonly string[]): readonly string[] {
  for (const name of names) {
    if (!isEnvName(name))
      throw new ComposeError(
        "env-invalid",
        `environment variable name ${JSON.stringify(name)}: expected letters, digits and _, not starting with a digit`,
      );
    if (isDangerousEnvName(name))
      throw new ComposeError(
        "env-invalid",
        `environment variable ${name} changes how the guest itself runs and cannot be allowed; give it another name and map it inside the compose file`,
      );
  }
  return [...new Set(names)];
}
