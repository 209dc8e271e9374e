/**
 * The settings with which somebody gets keys, or what guards them, who should not.
 * In: a configuration that loaded. Out: the settings in force, as an operator would write them.
 * One table: what marks a key folder as development, what a production folder refuses, what status,
 * metrics and `dstack kms check` name, and with what root keys never leave, is read off its rows.
 * Never: an insecure setting that is spelled anywhere else.
 */
import { isOpen, type KmsConfig } from "./kms-config.ts";

export interface InsecureSetting {
  /** A key of kms.toml. */
  readonly key: string;
  /** As an operator would write it. */
  readonly text: string;
  readonly inForce: (config: KmsConfig) => boolean;
  /** Who gets what by it, and what to write instead. */
  readonly why: string;
  /** Whether callers are then not checked as another KMS would have to be: root keys never leave. */
  readonly blocksHandOver: boolean;
}

export const INSECURE_SETTINGS: readonly InsecureSetting[] = [
  {
    key: "core.attestation.insecure_allow_external_trust_anchors",
    text: "core.attestation.insecure_allow_external_trust_anchors = true",
    inForce: (config) => config.allowExternalTrustAnchors,
    why: "whoever holds the key of the configured root can make quotes for any VM; meant for simulated TEEs",
    blocksHandOver: false,
  },
  {
    key: "core.auth_api.type",
    text: 'core.auth_api.type = "dev"',
    inForce: (config) => config.auth.kind === "dev",
    why: 'every app with a valid quote gets its keys, whatever it runs; nobody is asked. Use type = "webhook"',
    blocksHandOver: true,
  },
  {
    key: "core.image.verify",
    text: "core.image.verify = false",
    inForce: (config) => !config.image.verify,
    why: "a VM's OS is not compared with any image: one that was built to leak keys passes. Set it to true",
    blocksHandOver: true,
  },
  {
    key: "core.onboard.quote_enabled",
    text: "core.onboard.quote_enabled = false",
    inForce: (config) => !config.selfAttestation.quoteEnabled,
    why: "this KMS has no evidence of itself: guests and other KMS cannot tell it from an impostor. Remove it in a TEE",
    blocksHandOver: true,
  },
  {
    key: "core.attest_rpc_cert",
    text: "core.attest_rpc_cert = false",
    inForce: (config) => !config.selfAttestation.attestCertificate,
    why: "the listener's certificate carries no evidence: guests cannot tell this KMS from an impostor. Set it to true in a TEE",
    blocksHandOver: false,
  },
  {
    key: "core.enforce_self_authorization",
    text: "core.enforce_self_authorization = false",
    inForce: (config) => !config.selfAttestation.authorizeSelf,
    why: "the KMS goes on serving after the auth server took it off its list. Set it to true in a TEE",
    blocksHandOver: false,
  },
  {
    key: "core.admin.insecure_no_auth",
    text: "core.admin.insecure_no_auth = true",
    inForce: (config) => config.admin !== undefined && isOpen(config.admin),
    why: "whoever reaches the administration listener is an administrator. Set core.admin.auth_token or htpasswd_file",
    blocksHandOver: false,
  },
];

/** Any of them makes a new key folder a development one, and a production folder refuses them. */
export function insecureSettings(config: KmsConfig): InsecureSetting[] {
  return INSECURE_SETTINGS.filter(({ inForce }) => inForce(config));
}

/** Texts of those in force with which root keys never leave, whoever asks. */
export function settingsAgainstHandOver(config: KmsConfig): string[] {
  return insecureSettings(config)
    .filter(({ blocksHandOver }) => blocksHandOver)
    .map(({ text }) => text);
}
