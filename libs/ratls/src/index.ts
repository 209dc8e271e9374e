/** Certificates that carry evidence, requests for them, and the client that checks who it talks to. */
export { RatlsError } from "./errors.ts";
export type { RatlsErrorCode } from "./errors.ts";
export { DSTACK_OID, USAGE } from "./oids.ts";
export { ipOctets } from "./names.ts";
export { createAppCa, createCa, createLeaf, createTempClientCertificate, loadCa } from "./certificate-builder.ts";
export type { CaOptions, IssuedCertificate, LeafOptions, SigningCa } from "./certificate-builder.ts";
export { readDstackExtensions } from "./extensions.ts";
export type { DstackExtensions, EvidenceForm } from "./extensions.ts";
export { isSignedBy, parseCertificates, verifyCertificateChain } from "./chain.ts";
export type { ChainOptions } from "./chain.ts";
export { decodeCsr, encodeCsrV1, encodeCsrV2, signCsr, verifyCsr } from "./csr.ts";
export type { Csr, CsrConfig } from "./csr.ts";
export { checkPeerCertificate, expectedReportData } from "./peer-rule.ts";
export type { AppPeer, AttestedPeer, EvidenceVerifier, KmsPeer, PeerEnd, PeerRule } from "./peer-rule.ts";
export { verifyPeer } from "./verify-peer.ts";
export type { ChainCheck, EvidenceCheck } from "./verify-peer.ts";
export { attestedTransport, fetchTempCaUnverified } from "./attested-transport.ts";
export type { AttestedTransportOptions, TempCa } from "./attested-transport.ts";
