import { toHex } from "@dstack/bytes";
import type { CsrConfig } from "@dstack/ratls";
import { ipOctets } from "@dstack/ratls";

export interface OwnNameAsked {
  readonly field: "subject" | "subject_alt_names";
  /** The one of our names that a TLS client would take the certificate for. */
  readonly ownName: string;
}

/**
 * Where a request asks for a certificate that a TLS client would accept for one of our own names:
 * this KMS's, or a replica's. Undefined where it does not. Clients match host names without regard
 * to case and a trailing dot and let `*` stand for anything within a label (RFC 6125 6.4.3, and
 * older libraries wherever it stands); addresses they compare as octets, whatever their spelling.
 */
export function ownNameIn({ subject, altNames }: CsrConfig, ownNames: readonly string[]): OwnNameAsked | undefined {
  for (const ownName of ownNames) {
    if (covers(subject, ownName)) return { field: "subject", ownName };
    if (altNames.some((name) => covers(name, ownName))) return { field: "subject_alt_names", ownName };
  }
  return undefined;
}

function covers(asked: string, ownName: string): boolean {
  const name = canonical(asked);
  const own = canonical(ownName);
  if (!name.includes("*")) return name === own;
  const pattern = name
    .split("*")
    .map((part) => part.replace(/[^a-z0-9-]/g, "\\$&"))
    .join("[^.]*");
  return !own.startsWith(ADDRESS) && new RegExp(`^${pattern}$`).test(own);
}

const ADDRESS = "address ";

/** One spelling for all that a client may hold to be the same host. */
function canonical(text: string): string {
  const name = text.trim().toLowerCase().replace(/\.$/, "");
  // IDNA, and the shorter spellings of IPv4 (`127.1`, `0x7f000001`) that resolvers take.
  const host = name.includes("*") ? name : (URL.parse(`https://${name}/`)?.hostname ?? name);
  const octets = ipOctets(host) ?? ipOctets(name);
  if (octets === undefined) return host;
  // An IPv4 address in IPv6's clothes is that IPv4 address.
  const isMapped = octets.length === 16 && toHex(octets).startsWith("00000000000000000000ffff");
  return `${ADDRESS}${toHex(isMapped ? octets.subarray(12) : octets)}`;
}
