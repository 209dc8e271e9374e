import type { ParsedAppCompose } from "@dstack/compose";
import type { Logger } from "@dstack/log";
import type { AppKeys } from "../keys/app-keys.ts";
import type { CertificateIssuer } from "../keys/certificates.ts";
import type { DockerApi } from "../app/docker-api.ts";
import type { Identity } from "../identity/identity.ts";
import type { ImageInfo } from "../system/image-info.ts";
import type { SystemConfig } from "../host/system-config.ts";
import type { GuestTee } from "../identity/tee.ts";

/** All that the agent answers from, complete once the keys are there. */
export interface AgentState {
  readonly manifest: ParsedAppCompose;
  readonly identity: Identity;
  readonly keys: AppKeys;
  readonly systemConfig: SystemConfig;
  readonly image: ImageInfo;
  readonly tee: GuestTee;
  readonly issuer: CertificateIssuer;
  readonly docker: DockerApi;
  /** Mount points that count as the guest's disks. */
  readonly dataDisks: readonly string[];
  readonly log: Logger;
}

export const AGENT_VERSION = { version: "0.6.0", rev: "unknown" } as const;
