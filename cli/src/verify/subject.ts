/** What was fetched to be judged: complete, so that the same judgement can be made again without a network. */
import { z } from "zod";
import { publicKeyInfoOf } from "./certificates.ts";

const hex = z
  .string()
  .regex(/^(?:0x)?(?:[0-9a-fA-F]{2})*$/, "expected hex")
  .max(64 * 1024 * 1024);
const text = z.string().max(64 * 1024 * 1024);
/** PEM certificates, leaf first. */
const certificates = z.array(text.refine(isCertificate, "expected a certificate in PEM")).max(8);

/** As guests and gateways give it: members that are not read are dropped. */
const evidence = z.object({ quote: text, event_log: text, vm_config: text.default(""), attestation: text.optional() });
/** Bundles of before hold an empty attestation where the guest gave a quote alone. */
const givenAttestation = text.optional().transform((value) => (value === "" ? undefined : value));

const acmeInfo = z.object({
  account_uri: text.default(""),
  hist_keys: z.array(hex).max(1024).default([]),
  quoted_hist_keys: z
    .array(z.object({ public_key: hex, quote: text.default("") }))
    .max(1024)
    .default([]),
  account_quote: text.default(""),
  base_domain: text.default(""),
});

const bootstrapInfo = z.object({
  ca_pubkey: hex,
  k256_pubkey: hex,
  attestation: hex.default(""),
  quote: hex.default(""),
  eventlog: hex.default(""),
});

const kmsMeta = z.object({
  ca_cert: text,
  k256_pubkey: hex,
  bootstrap_info: bootstrapInfo.nullish(),
  is_dev: z.boolean().default(false),
  gateway_app_id: text.nullish(),
  kms_contract_address: text.nullish(),
  chain_id: z.union([z.number(), z.string()]).nullish(),
  app_auth_implementation: text.nullish(),
  /** Of ours: what the KMS was told to leave out. */
  insecure_settings: z.array(text).max(100).default([]),
});

/** What a KMS answers, and the certificates of the connection that the answer came over. */
const kmsAnswer = z.object({ certificates, meta: kmsMeta });

const appSubject = z.object({
  kind: z.literal("app"),
  url: z.url(),
  /** Chosen by whoever fetched the evidence. */
  nonce: hex,
  evidence: evidence.extend({ attestation: givenAttestation, app_compose: text }),
  certificates,
  /** Undefined where the gateway serves none. */
  acme_info: acmeInfo.optional(),
  kms: kmsAnswer.optional(),
});

const kmsSubject = kmsAnswer.extend({ kind: z.literal("kms"), url: z.url() });
const gatewaySubject = z.object({ kind: z.literal("gateway"), url: z.url(), certificates, acme_info: acmeInfo });
const evidenceSubject = z.object({
  kind: z.literal("evidence"),
  evidence: evidence.extend({ quote: text.default(""), event_log: text.default("") }),
});

export const Subject = z.discriminatedUnion("kind", [appSubject, kmsSubject, gatewaySubject, evidenceSubject]);
export const AppEvidence = appSubject.shape.evidence;
export const AcmeInfo = acmeInfo;
export const KmsMeta = kmsMeta;

function isCertificate(pem: string): boolean {
  try {
    return publicKeyInfoOf(pem).length > 0;
  } catch {
    return false;
  }
}

export type Subject = z.infer<typeof Subject>;
export type AppSubject = z.infer<typeof appSubject>;
export type KmsSubject = z.infer<typeof kmsSubject>;
export type GatewaySubject = z.infer<typeof gatewaySubject>;
export type EvidenceSubject = z.infer<typeof evidenceSubject>;
export type AcmeInfo = z.infer<typeof acmeInfo>;
export type KmsMeta = z.infer<typeof kmsMeta>;
export type KmsAnswer = z.infer<typeof kmsAnswer>;
