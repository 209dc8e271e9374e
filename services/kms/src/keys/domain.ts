import { isIP } from "node:net";
import { excerpt } from "@dstack/errors";
import { KmsError } from "../errors.ts";

const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;

/** A DNS name or an IP address, as it goes into the certificate. @throws KmsError `config-invalid` */
export function checkDomain(domain: string): string {
  if (isIP(domain) !== 0 && !domain.includes("%")) return domain;
  // oxlint-disable-next-line no-control-regex
  if (domain === "" || domain.length > 253 || /[^\u0000-\u007f]/.test(domain)) {
    throw new KmsError(
      "config-invalid",
      `domain must be a non-empty ASCII DNS name of at most 253 bytes, got ${domain.length} characters: "${excerpt(domain, { maxChars: 80 })}"`,
    );
  }
  const wrong = domain.split(".").find((label) => !LABEL.test(label));
  if (wrong !== undefined)
    throw new KmsError(
      "config-invalid",
      `domain contains an invalid DNS label: "${excerpt(wrong, { maxChars: 80 })}", expected 1 to 63 letters, digits and inner hyphens`,
    );
  return domain;
}
