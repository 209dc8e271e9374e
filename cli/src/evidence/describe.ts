import {
  commonName,
  entryToJson,
  parseCertificateChain,
  parseQuote,
  readPckExtension,
  type AppInfoRecord,
  type Attestation,
  type Certificate,
  type EnclaveReport,
  type Quote,
  type TdReport,
} from "@dstack/attest";
import { readU32LE, toHex, utf8Decode } from "@dstack/bytes";
import { DSTACK_OID, type Csr, type DstackExtensions } from "@dstack/ratls";
import type { Evidence } from "./read-evidence.ts";
import { isRefusal, refusalOf } from "./refusal.ts";

/** Fields of evidence as JSON holds them: bytes in hex, times in RFC 3339. */
export type Fields = { readonly [name: string]: Field };
export type Field = string | number | boolean | null | Fields | readonly Field[];

/** Every field of the evidence, named as on its wire. @throws DerError, AttestError for a PCK chain that cannot be read */
export function describeEvidence(evidence: Evidence): Fields {
  switch (evidence.kind) {
    case "quote":
      return { ...quoteFields(evidence.quote), trailing_bytes: trailingBytes(evidence.quote, evidence.bytes) };
    case "attestation":
      return { version: evidence.version, ...attestationFields(evidence.attestation) };
    case "certificate": {
      const [leaf, ...issuers] = evidence.certificates;
      return {
        ...certificateFields(leaf),
        ...(issuers.length === 0 ? {} : { issuers: issuers.map(certificateFields) }),
      };
    }
    case "certificate request":
      return { api_version: evidence.apiVersion, ...requestFields(evidence.csr) };
  }
}

function quoteFields({ header, body, ...rest }: Quote): Fields {
  return {
    header: {
      version: header.version,
      attestation_key_type: header.attestationKeyType,
      tee: header.tee,
      qe_svn: header.qeSvn,
      pce_svn: header.pceSvn,
      qe_vendor_id: toHex(header.qeVendorId),
      user_data: toHex(header.userData),
    },
    body: body.kind === "tdx" ? tdFields(body) : enclaveFields(body),
    signature: toHex(rest.signature),
    attestation_key: toHex(rest.attestationKey),
    qe_report: enclaveFields(rest.qeReport),
    qe_report_signature: toHex(rest.qeReportSignature),
    qe_auth_data: toHex(rest.qeAuthData),
    certification: certificationFields(rest.certification),
  };
}

function tdFields(report: TdReport): Fields {
  return {
    kind: "tdx",
    td_report: report.version === 1 ? "1.0" : "1.5",
    tee_tcb_svn: toHex(report.teeTcbSvn),
    mr_seam: toHex(report.mrSeam),
    mr_signer_seam: toHex(report.mrSignerSeam),
    seam_attributes: toHex(report.seamAttributes),
    td_attributes: toHex(report.tdAttributes),
    xfam: toHex(report.xfam),
    mr_td: toHex(report.mrTd),
    mr_config_id: toHex(report.mrConfigId),
    mr_owner: toHex(report.mrOwner),
    mr_owner_config: toHex(report.mrOwnerConfig),
    rtmr0: toHex(report.rtmr[0]),
    rtmr1: toHex(report.rtmr[1]),
    rtmr2: toHex(report.rtmr[2]),
    rtmr3: toHex(report.rtmr[3]),
    report_data: toHex(report.reportData),
    ...(report.teeTcbSvn2 === undefined ? {} : { tee_tcb_svn2: toHex(report.teeTcbSvn2) }),
    ...(report.mrServiceTd === undefined ? {} : { mr_service_td: toHex(report.mrServiceTd) }),
  };
}

function enclaveFields(report: EnclaveReport): Fields {
  return {
    kind: "sgx",
    cpu_svn: toHex(report.cpuSvn),
    misc_select: toHex(report.miscSelect),
    attributes: toHex(report.attributes),
    mr_enclave: toHex(report.mrEnclave),
    mr_signer: toHex(report.mrSigner),
    isv_prod_id: report.isvProdId,
    isv_svn: report.isvSvn,
    report_data: toHex(report.reportData),
  };
}

function certificationFields(certification: Quote["certification"]): Fields {
  if (certification.kind === "encrypted-ppid") {
    return {
      kind: "encrypted PPID",
      encrypted_ppid: toHex(certification.encryptedPpid),
      cpu_svn: toHex(certification.cpuSvn),
      pce_svn: certification.pceSvn,
      pce_id: toHex(certification.pceId),
    };
  }
  const chain = parseCertificateChain(utf8Decode(certification.pem, "PCK chain").replace(/\0+$/, ""), "PCK chain");
  const pck = chain[0] === undefined ? undefined : readPckExtension(chain[0]);
  return {
    kind: certification.kind === "pem-leaf" ? "PCK certificate alone" : "PCK certificate chain",
    ...(pck === undefined
      ? {}
      : {
          fmspc: toHex(pck.fmspc),
          ppid: toHex(pck.ppid),
          cpu_svn: toHex(pck.cpuSvn),
          pce_svn: pck.pceSvn,
          pce_id: toHex(pck.pceId),
          sgx_type: pck.sgxType,
        }),
    certificates: chain.map(x509Fields),
  };
}

/** Bytes behind the authentication data, whose length stands in front of it. */
function trailingBytes({ signed }: Quote, bytes: Uint8Array): number {
  return bytes.length - signed.length - 4 - readU32LE(bytes, signed.length);
}

function attestationFields(attestation: Attestation): Fields {
  const { quote, eventLog } = attestation.platform;
  return {
    platform: "dstack-tdx",
    quote: toHex(quote),
    ...readableQuote(quote),
    event_log: eventLog.map((entry) => entryToJson(entry) as Fields),
    runtime_events: attestation.runtimeEvents.map(({ event, payload, version }) => ({
      event,
      payload: toHex(payload),
      version: version ?? 1,
    })),
    report_data: toHex(attestation.reportData),
    config: attestation.config,
    ...(attestation.reportDataPayload === undefined ? {} : { report_data_payload: attestation.reportDataPayload }),
  };
}

/** The quote's own fields, where it is one: certificates and requests may carry anything there. */
function readableQuote(bytes: Uint8Array): Fields {
  try {
    const quote = parseQuote(bytes);
    return { quote_fields: { ...quoteFields(quote), trailing_bytes: trailingBytes(quote, bytes) } };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { quote_fields: null, quote_refused: refusalOf(error).reason };
  }
}

function certificateFields({ certificate, usage, appId, appInfo, attestation }: DstackExtensions): Fields {
  return {
    ...x509Fields(certificate),
    extensions: [...certificate.extensions].map(([oid, { critical, value }]) => ({
      oid,
      name: EXTENSION_NAMES.get(oid) ?? null,
      critical,
      bytes: value.length,
    })),
    ...(usage === undefined ? {} : { usage }),
    ...(appId === undefined ? {} : { app_id: toHex(appId) }),
    ...(appInfo === undefined ? {} : { app_info: appInfoFields(appInfo) }),
    ...(attestation === undefined ? {} : { attestation: attestationFields(attestation) }),
  };
}

const EXTENSION_NAMES: ReadonlyMap<string, string> = new Map(
  Object.entries(DSTACK_OID).map(([name, oid]) => [oid, `dstack ${name}`]),
);

function x509Fields(certificate: Certificate): Fields {
  return {
    subject: commonName(certificate.subject),
    issuer: commonName(certificate.issuer),
    serial: certificate.serial,
    not_before: rfc3339(certificate.notBefore),
    not_after: rfc3339(certificate.notAfter),
    public_key: toHex(certificate.publicKeyInfo),
    signature_algorithm: certificate.signatureAlgorithm,
  };
}

function appInfoFields(info: AppInfoRecord): Fields {
  return {
    app_id: toHex(info.appId),
    compose_hash: toHex(info.composeHash),
    instance_id: toHex(info.instanceId),
    device_id: toHex(info.deviceId),
    mr_system: toHex(info.mrSystem),
    mr_aggregated: toHex(info.mrAggregated),
    os_image_hash: toHex(info.osImageHash),
    key_provider_info: toHex(info.keyProviderInfo),
    ...(info.initScriptHashes === undefined
      ? {}
      : { init_script_hashes: info.initScriptHashes.map((hash) => toHex(hash)) }),
  };
}

function requestFields(csr: Csr): Fields {
  const { config } = csr;
  return {
    confirm: csr.confirm,
    public_key: toHex(csr.publicKeyInfo),
    config: {
      org_name: config.organization ?? null,
      subject: config.subject,
      subject_alt_names: config.altNames,
      usage_server_auth: config.serverAuth,
      usage_client_auth: config.clientAuth,
      ext_quote: config.withEvidence,
      ext_app_info: config.withAppInfo,
      not_before: config.notBefore ?? null,
      not_after: config.notAfter ?? null,
    },
    ...evidenceFields(csr),
  };
}

/** A request of version 1 reads well also where the evidence in it does not. */
function evidenceFields(csr: Csr): Fields {
  try {
    return { attestation: attestationFields(csr.attestation()) };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { attestation: null, attestation_refused: refusalOf(error).reason };
  }
}

const rfc3339 = (seconds: number): string => new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
