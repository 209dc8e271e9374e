import type { ParsedAppCompose } from "@dstack/compose";
import type { Logger } from "@dstack/log";
import type { AppKeys } from "../app-keys.ts";
import type { CertificateIssuer } from "../certificates.ts";
import type { DockerApi } from "../docker-api.ts";
import type { Identity } from "../identity.ts";
import type { ImageInfo } from "../image-info.ts";
import type { SystemConfig } from "../system-config.ts";
import type { GuestTee } from "../tee.ts";

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
