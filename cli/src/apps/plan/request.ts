import type { EnvPair } from "@dstack/keys";
import type { StorageFs } from "@dstack/compose";
import type { PortArgument } from "../../terminal/ports.ts";

/**
 * What a person asks of a deployment. Whatever is undefined was not given: a first deployment takes
 * its default, an update keeps what the app has.
 */
export interface DeployRequest {
  readonly app: AppRequest;
  readonly machine: MachineRequest;
  readonly permission: PermissionRequest;
}

/** What is deployed: all of it is measured. */
export interface AppRequest {
  readonly name: string;
  /** Path of the docker-compose.yaml. */
  readonly composeFile: string;
  /** Hex, 20 bytes. */
  readonly appId: string | undefined;
  readonly environment: readonly EnvPair[] | undefined;
  /** Whether variables that are not given again are given up; kept otherwise. */
  readonly dropEnvironment: boolean;
  readonly secureTime: boolean | undefined;
  readonly storageFs: StorageFs | undefined;
  readonly publicLogs: boolean | undefined;
  readonly allowMutable: boolean;
}

/** What it runs on. */
export interface MachineRequest {
  readonly image: string | undefined;
  readonly vcpu: number | undefined;
  readonly memoryMib: number | undefined;
  readonly diskGib: number | undefined;
  readonly ports: readonly PortArgument[] | undefined;
  /** Whether mappings that are not given again are given up; kept otherwise. */
  readonly dropPorts: boolean;
}

/** How it comes to be allowed. */
export interface PermissionRequest {
  /** Whether the policy is changed to allow this version; otherwise it must allow it already. */
  readonly allow: boolean;
  /** Whether the policy is asked before anything is created. */
  readonly check: boolean;
}
