import type { RevocationList } from "./certificate.ts";
import type { QeIdentity, TcbInfo } from "./tcb-info.ts";

/** The signed documents, parsed. */
export interface CollateralDocuments {
  readonly rootCrl: RevocationList;
  readonly pckCrl: RevocationList;
  readonly tcbInfo: TcbInfo;
  readonly qeIdentity: QeIdentity;
}
