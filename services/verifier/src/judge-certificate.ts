/** What a certificate itself shows, beside the evidence in it. */
import { equalBytes } from "@dstack/bytes";
import { commonName, fail, notBound, pass, type Certificate, type Check, type Outcome } from "@dstack/attest";
import { isSignedBy, RatlsError, verifyCertificateChain } from "@dstack/ratls";

export interface CertificateInput {
  /** What was given, leaf first. */
  readonly certificates: readonly [Certificate, ...Certificate[]];
  /** Issuers that whoever asks vouches for; empty where there are none. */
  readonly trusted: readonly Certificate[];
  /** Unix seconds. */
  readonly now: number;
}

/**
 * Checks `certificate-validity` and `certificate-signature`. Names and other contents of a certificate count only
 * under a signature that was looked at: where it was not, the check is "not bound" and says so.
 */
export function judgeCertificate(input: CertificateInput): readonly Check[] {
  const [leaf] = input.certificates;
  return [
    { name: "certificate-validity", ...judgeValidity(leaf, input.now) },
    { name: "certificate-signature", ...judgeSignature(input) },
  ];
}

function judgeValidity({ notBefore, notAfter }: Certificate, now: number): Outcome {
  const clock = `the clock says ${iso(now)}`;
  if (now < notBefore) return fail(`valid only from ${iso(notBefore)}; ${clock}`, "certificate-not-yet-valid");
  if (now > notAfter) return fail(`ended at ${iso(notAfter)}; ${clock}`, "certificate-expired");
  return pass(`until ${iso(notAfter)}`);
}

function judgeSignature({ certificates, trusted, now }: CertificateInput): Outcome {
  const [leaf, ...above] = certificates;
  const subject = name(leaf.subject);
  if (trusted.length > 0) return judgeChain(leaf, [...above, ...trusted], trusted, now);
  if (equalBytes(leaf.issuer, leaf.subject))
    return isSignedBy(leaf, leaf)
      ? pass(`${subject} is signed by its own key`)
      : fail(`${subject} names itself as its issuer and is not signed by its own key`, "signature-invalid");
  const [issuer] = above;
  const unproven = "names in it are not proven; give its issuers with --chain";
  if (issuer === undefined || !equalBytes(issuer.subject, leaf.issuer))
    return notBound(`not looked at: issued by ${name(leaf.issuer)}, which is not at hand; ${unproven}`);
  return isSignedBy(leaf, issuer)
    ? notBound(`signed by ${name(issuer.subject)} of the same file, which nothing vouches for; ${unproven}`)
    : fail(`not signed by ${name(issuer.subject)}, which the file gives as its issuer`, "signature-invalid");
}

function judgeChain(
  leaf: Certificate,
  known: readonly Certificate[],
  trusted: readonly Certificate[],
  now: number,
): Outcome {
  // Of what is trusted, what others of it issued must hold under those; only the top is taken as it is.
  const tops = trusted.filter(
    ({ issuer, subject }) => equalBytes(issuer, subject) || !trusted.some((other) => equalBytes(other.subject, issuer)),
  );
  try {
    const root = verifyCertificateChain({ chain: inOrder(leaf, known), roots: tops, now });
    return pass(`issued under ${name(root.subject)}`);
  } catch (error) {
    if (!(error instanceof RatlsError)) throw error;
    return fail(error.message, "chain-broken");
  }
}

/** From the leaf up, each the issuer of the one before, whatever the order of the file. */
function inOrder(leaf: Certificate, known: readonly Certificate[]): Certificate[] {
  const chain = [leaf];
  for (;;) {
    const last = chain.at(-1)!;
    const issuer = known.find((candidate) => !chain.includes(candidate) && equalBytes(candidate.subject, last.issuer));
    if (issuer === undefined) return chain;
    chain.push(issuer);
  }
}

const name = (distinguishedName: Uint8Array): string => `"${commonName(distinguishedName)}"`;
const iso = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace(".000Z", "Z");
