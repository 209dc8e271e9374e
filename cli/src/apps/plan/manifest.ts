import { toHex, utf8 } from "@dstack/bytes";
import {
  buildAppCompose,
  ComposeError,
  composeHash,
  parseAppCompose,
  type AppCompose,
  type AppComposeOptions,
  type ParsedAppCompose,
  type StorageFs,
} from "@dstack/compose";
import type { vmm } from "@dstack/proto";
import { CliError } from "../../terminal/errors.ts";
import type { AppRequest } from "./request.ts";

export interface ManifestPlan {
  readonly wanted: ParsedAppCompose;
  /** Settings that were not given and stay, for people. */
  readonly kept: readonly string[];
}

/** The manifest of a VM that exists; undefined where it cannot be read, as of a VM that is broken. */
export function manifestOfVm({ configuration }: vmm.VmInfo): ParsedAppCompose | undefined {
  if (configuration === undefined || configuration.composeFile === "") return undefined;
  try {
    return parseAppCompose(utf8(configuration.composeFile));
  } catch (error) {
    if (error instanceof ComposeError) return undefined;
    throw error;
  }
}

/** Compose hash, hex, of the version that a VM boots; undefined where its manifest cannot be read. */
export function versionOf({ configuration }: vmm.VmInfo): string | undefined {
  const text = configuration?.composeFile ?? "";
  return text === "" ? undefined : toHex(composeHash(utf8(text)));
}

/**
 * The manifest to deploy: what was given, else what the present one says, else the default. Pure.
 * @param allowedEnvs names that the app accepts
 * @throws CliError `usage` for what a guest would refuse; `failed` where the present manifest holds settings that
 *   this command cannot write, since an update would drop them without a word
 */
export function planManifest(
  request: AppRequest,
  dockerComposeFile: string,
  allowedEnvs: readonly string[],
  present: AppCompose | undefined,
): ManifestPlan {
  const foreign = present === undefined ? [] : settingsOfOthers(present);
  if (foreign.length > 0)
    throw new CliError(
      "failed",
      `the manifest of ${request.name} sets ${foreign.join(", ")}, which an update would drop`,
      {
        hint: "nothing was deployed; it was made with another tool, so update it there",
      },
    );
  const { secureTime, storageFs, publicLogs } = request;
  try {
    return {
      wanted: buildAppCompose({
        name: request.name,
        dockerComposeFile,
        allowedEnvs,
        ...(present === undefined ? {} : settingsOf(present)),
        publicLogs: publicLogs ?? present?.publicLogs ?? false,
        secureTime: secureTime ?? present?.secureTime ?? false,
        ...storageOf(storageFs ?? (present === undefined ? "ext4" : present.storageFs)),
      }),
      kept: present === undefined ? [] : keptSettings(request, present),
    };
  } catch (cause) {
    if (cause instanceof ComposeError) throw new CliError("usage", cause.message, { cause });
    throw cause;
  }
}

const storageOf = (storageFs: StorageFs | undefined): Partial<AppComposeOptions> =>
  storageFs === undefined ? {} : { storageFs };

/** What the command line has no option for: an update takes it over as it is. */
function settingsOf(present: AppCompose): Partial<AppComposeOptions> {
  return {
    keyProvider: present.keyProvider,
    keyProviderId: toHex(present.keyProviderId),
    gatewayEnabled: present.gatewayEnabled,
    publicSysinfo: present.publicSysinfo,
    publicTcbinfo: present.publicTcbinfo,
    noInstanceId: present.noInstanceId,
    ...(present.preLaunchScript === undefined ? {} : { preLaunchScript: present.preLaunchScript }),
    ...(present.swapSizeBytes === 0n ? {} : { swapSize: Number(present.swapSizeBytes) }),
  };
}

/** What no manifest of this command line holds. */
function settingsOfOthers(present: AppCompose): readonly string[] {
  const { portPolicy } = present;
  return [
    ...(present.runner === "docker-compose" ? [] : [`runner ${present.runner}`]),
    ...(present.snapshotter === undefined ? [] : ["snapshotter"]),
    ...(present.initScripts.length === 0 ? [] : ["init_script"]),
    ...(present.bashScript === undefined ? [] : ["bash_script"]),
    ...(present.eventLogVersion === 1 ? [] : ["event_log_version"]),
    ...(portPolicy.ports.length === 0 && !portPolicy.restrictMode ? [] : ["port_policy"]),
    ...(present.requirements === undefined ? [] : ["requirements"]),
    ...(present.verityVolumes.length === 0 ? [] : ["verity_volumes"]),
    ...present.unknownFields,
  ];
}

function keptSettings(request: AppRequest, present: AppCompose): readonly string[] {
  return [
    ...(request.secureTime === undefined && present.secureTime ? ["secure time"] : []),
    ...(request.publicLogs === undefined && present.publicLogs ? ["public logs"] : []),
    ...(present.noInstanceId ? ["no instance id"] : []),
    ...(present.preLaunchScript === undefined ? [] : ["the pre-launch script"]),
    ...(present.keyProvider === "kms" ? [] : [`key provider ${present.keyProvider}`]),
  ];
}
