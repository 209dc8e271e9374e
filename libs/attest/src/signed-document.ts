/** The four documents of collateral by what orders their editions: dates, CRL numbers, evaluation numbers. */
import { toHex } from "@dstack/bytes";
import { commonName } from "./certificate.ts";
import type { CollateralDocuments } from "./collateral-documents.ts";
import { isoTime } from "./judgement.ts";

const DAY_SECONDS = 86_400;

/** In the order in which they are judged. */
export const DOCUMENT_KINDS = ["root_ca_crl", "pck_crl", "tcb_info", "qe_identity"] as const;
export type DocumentKind = (typeof DOCUMENT_KINDS)[number];

export const DOCUMENT_NAMES: Readonly<Record<DocumentKind, string>> = {
  root_ca_crl: "root CRL",
  pck_crl: "PCK CRL",
  tcb_info: "TCB info",
  qe_identity: "QE identity",
};

export interface SignedDocument {
  readonly kind: DocumentKind;
  /** What it is about: editions with the same kind and subject replace each other. */
  readonly subject: string;
  /** Unix seconds: issueDate or thisUpdate, and nextUpdate. */
  readonly from: number;
  readonly until: number;
  /** cRLNumber or tcbEvaluationDataNumber. */
  readonly number: bigint | undefined;
}

/** The documents in the order of `DOCUMENT_KINDS`. */
export const signedDocumentsOf = ({
  rootCrl,
  pckCrl,
  tcbInfo,
  qeIdentity,
}: CollateralDocuments): readonly SignedDocument[] => [
  {
    kind: "root_ca_crl",
    subject: commonName(rootCrl.issuer),
    from: rootCrl.thisUpdate,
    until: rootCrl.nextUpdate,
    number: rootCrl.number,
  },
  {
    kind: "pck_crl",
    subject: commonName(pckCrl.issuer),
    from: pckCrl.thisUpdate,
    until: pckCrl.nextUpdate,
    number: pckCrl.number,
  },
  {
    kind: "tcb_info",
    subject: `${tcbInfo.id} FMSPC ${toHex(tcbInfo.fmspc)}`,
    from: tcbInfo.issueDate,
    until: tcbInfo.nextUpdate,
    number: BigInt(tcbInfo.evaluationDataNumber),
  },
  {
    kind: "qe_identity",
    subject: qeIdentity.id,
    from: qeIdentity.issueDate,
    until: qeIdentity.nextUpdate,
    number: BigInt(qeIdentity.evaluationDataNumber),
  },
];

/** Whether `edition` is older than `known` in its date or in its number: each only moves forward. */
export const isOlder = (edition: SignedDocument, known: SignedDocument): boolean =>
  edition.from < known.from ||
  (edition.number !== undefined && known.number !== undefined && edition.number < known.number);

/** For messages: "TCB info (TDX FMSPC 90c06f000000) of 2030-06-14T00:00:00Z, number 17". */
export const describeDocument = ({ kind, subject, from, number }: SignedDocument): string =>
  `${DOCUMENT_NAMES[kind]} (${subject}) of ${isoTime(from)}${number === undefined ? "" : `, number ${number}`}`;

/** Days until the first document of each kind ends, at a time in Unix seconds; below zero where one has ended. */
export function daysLeftOf(documents: readonly SignedDocument[], now: number): ReadonlyMap<DocumentKind, number> {
  const left = new Map<DocumentKind, number>();
  for (const { kind, until } of documents)
    left.set(kind, Math.min(left.get(kind) ?? Number.POSITIVE_INFINITY, (until - now) / DAY_SECONDS));
  return left;
}
