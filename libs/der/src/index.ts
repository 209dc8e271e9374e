/**
 * Strict DER and PEM: what certificates, revocation lists and their extensions are made of.
 * Takes the one encoding DER allows and refuses everything else.
 */
export { DerError } from "./errors.ts";
export type { DerErrorCode } from "./errors.ts";
export { contextTag, TAG } from "./tags.ts";
export { DerFields, expectTag, readChildren, readDer } from "./reader.ts";
export type { DerElement } from "./reader.ts";
export {
  readBitString,
  readBoolean,
  readEnumerated,
  readIntegerBytes,
  readOctetString,
  readOid,
  readText,
  readTime,
  readUnsigned,
} from "./values.ts";
export {
  derBitString,
  derBoolean,
  derContext,
  derElement,
  derEnumerated,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derTime,
  derUnsigned,
  derUtf8,
} from "./writer.ts";
export { readPem, writePem } from "./pem.ts";
