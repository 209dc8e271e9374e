/**
 * Client of a provisioning certificate service, API version 4: Intel's own (PCS) or a cache of it (PCCS).
 * They differ in what they serve the root's revocation list from and in hex or DER for lists; both are read.
 */
import { concatBytes, equalBytes, parseHex, toHex, u16le, utf8Decode } from "@dstack/bytes";
import { fetchFollowing } from "@dstack/http";
import { leafOf, parseCertificateChain } from "../certificate.ts";
import type { QuoteCollateral } from "../collateral.ts";
import { AttestError, reading } from "../errors.ts";
import { readPckExtension } from "../pck-extension.ts";
import type { TrustAnchor } from "../trust-anchor.ts";
import { pckFacts } from "./platform.ts";
import type { PckFacts, PckRequest, Platform } from "./platform.ts";

export interface ProvisioningClientOptions {
  /** Base URL; a trailing "/", "/sgx/certification/v4" or "/tdx/certification/v4" is taken off. */
  readonly url: string;
  readonly trustAnchor: TrustAnchor;
  readonly fetch: typeof globalThis.fetch;
}

/**
 * Which of Intel's TCB documents: those in force, those that will be (the early ones, out at once with a recovery),
 * or those of a TCB evaluation data number.
 */
export type TcbIssue = "standard" | "early" | number;

const MAX_DOCUMENT_BYTES = 1024 * 1024;

export class ProvisioningClient {
  /** For messages: a URL may hold credentials. */
  readonly host: string;
  readonly #base: string;
  readonly #crlUrl: string | undefined;
  readonly #fetch: typeof globalThis.fetch;

  /** @throws AttestError `collateral-unavailable` where the URL is none */
  constructor({ url, trustAnchor, fetch }: ProvisioningClientOptions) {
    this.#base = url.replace(/\/+$/, "").replace(/\/(?:sgx|tdx)\/certification\/v4$/, "");
    const parsed = URL.parse(this.#base);
    if (parsed === null || (parsed.protocol !== "https:" && parsed.protocol !== "http:")) {
      throw new AttestError("collateral-unavailable", "collateral server: expected an http or https URL");
    }
    this.host = parsed.host;
    this.#crlUrl = trustAnchor.crlUrl;
    this.#fetch = fetch;
  }

  /**
   * The collateral of a platform as sent, by the documents of an issue; nothing in it is verified.
   * @throws AttestError `collateral-unavailable`, `collateral-malformed`
   */
  async collateralOf(platform: Platform, signal: AbortSignal, issue: TcbIssue = "standard"): Promise<QuoteCollateral> {
    const { facts, chain } =
      platform.kind === "known"
        ? { facts: platform.pck, chain: undefined }
        : await this.#pckCertificate(platform.request, signal);
    const { tee } = platform;
    const [pckCrl, rootCaCrl, tcb, identity] = await Promise.all([
      this.#get(`/sgx/certification/v4/pckcrl?ca=${facts.ca}&encoding=der`, signal),
      this.#rootCrl(signal),
      this.#get(
        `/${tee}/certification/v4/tcb?fmspc=${facts.fmspc}${issue === "standard" ? "" : `&${issueQuery(issue)}`}`,
        signal,
      ),
      this.#get(`/${tee}/certification/v4/qe/identity?${issueQuery(issue)}`, signal),
    ]);
    const tcbInfo = this.#signedDocument(tcb, "tcbInfo");
    const qeIdentity = this.#signedDocument(identity, "enclaveIdentity");
    return {
      pckCrlIssuerChain: this.#chainHeader(pckCrl, "SGX-PCK-CRL-Issuer-Chain"),
      rootCaCrl,
      pckCrl: this.#derOrHex(pckCrl),
      tcbInfoIssuerChain: this.#chainHeader(tcb, "TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"),
      tcbInfo: tcbInfo.text,
      tcbInfoSignature: tcbInfo.signature,
      qeIdentityIssuerChain: this.#chainHeader(identity, "SGX-Enclave-Identity-Issuer-Chain"),
      qeIdentity: qeIdentity.text,
      qeIdentitySignature: qeIdentity.signature,
      ...(chain === undefined ? {} : { pckCertificateChain: chain }),
    };
  }

  /** The certificate of a platform that is named by its encrypted PPID, with what its extension says. */
  async #pckCertificate(
    request: PckRequest,
    signal: AbortSignal,
  ): Promise<{ readonly facts: PckFacts; readonly chain: string }> {
    const hex = (bytes: Uint8Array): string => toHex(bytes).toUpperCase();
    const query = new URLSearchParams({
      qeid: hex(request.qeId),
      encrypted_ppid: hex(request.encryptedPpid),
      cpusvn: hex(request.cpuSvn),
      pcesvn: hex(u16le(request.pceSvn)),
      pceid: hex(request.pceId),
    });
    const answer = await this.#get(`/sgx/certification/v4/pckcert?${query.toString()}`, signal);
    return reading("collateral-malformed", `collateral server ${this.host}: ${answer.path}`, () => {
      const leafPem = utf8Decode(answer.body, "PCK certificate");
      const chain = `${leafPem.trimEnd()}\n${this.#chainHeader(answer, "SGX-PCK-Certificate-Issuer-Chain")}`;
      const leaf = leafOf(parseCertificateChain(chain, "PCK chain"));
      const { cpuSvn, pceSvn } = readPckExtension(leaf);
      const issuedFor = concatBytes(cpuSvn, u16le(pceSvn));
      const claimed = answer.headers.get("SGX-TCBm");
      if (claimed === null || !equalBytes(parseHex(claimed, "SGX-TCBm"), issuedFor)) {
        throw new AttestError(
          "collateral-malformed",
          `collateral server ${this.host}: header SGX-TCBm is ${claimed?.slice(0, 40) ?? "missing"}, expected ${toHex(issuedFor)} as in the certificate`,
        );
      }
      return { facts: pckFacts(leaf), chain };
    });
  }

  async #rootCrl(signal: AbortSignal): Promise<Uint8Array> {
    const path = "/sgx/certification/v4/rootcacrl";
    const answer = await this.#request(`${this.#base}${path}`, path, signal);
    // Intel's own service has no such route: its root names the place. The place counts as the configured root says it.
    if (answer.status !== 404 || this.#crlUrl === undefined) return this.#derOrHex(this.#expectOk(answer));
    return this.#derOrHex(this.#expectOk(await this.#request(this.#crlUrl, "root CRL", signal)));
  }

  async #get(path: string, signal: AbortSignal): Promise<Answer> {
    return this.#expectOk(await this.#request(`${this.#base}${path}`, path.split("?")[0] ?? path, signal));
  }

  #expectOk(answer: Answer): Answer {
    if (answer.status === 200) return answer;
    throw new AttestError(
      "collateral-unavailable",
      `collateral server ${this.host}: ${answer.path} answered ${answer.status}, expected 200`,
    );
  }

  async #request(url: string, path: string, signal: AbortSignal): Promise<Answer> {
    try {
      const response = await fetchFollowing(url, { fetch: this.#fetch, signal });
      const { status, headers } = response;
      return { path, status, headers, body: await this.#readCapped(response, path) };
    } catch (cause) {
      if (cause instanceof AttestError) throw cause;
      const reason =
        cause instanceof Error ? (cause.cause instanceof Error ? cause.cause.message : cause.message) : String(cause);
      throw new AttestError("collateral-unavailable", `collateral server ${this.host}: ${path}: ${reason}`, { cause });
    }
  }

  async #readCapped(response: Response, path: string): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of response.body ?? []) {
      const bytes = chunk as Uint8Array;
      length += bytes.length;
      if (length > MAX_DOCUMENT_BYTES) {
        throw new AttestError(
          "collateral-malformed",
          `collateral server ${this.host}: ${path} is above ${MAX_DOCUMENT_BYTES} bytes`,
        );
      }
      chunks.push(bytes);
    }
    return concatBytes(...chunks);
  }

  #chainHeader(answer: Answer, ...names: readonly string[]): string {
    for (const name of names) {
      const value = answer.headers.get(name);
      if (value === null) continue;
      try {
        return decodeURIComponent(value);
      } catch (cause) {
        throw this.#malformed(answer, `header ${name} is not URL-encoded`, cause);
      }
    }
    throw this.#malformed(answer, `header ${names.join(" or ")} is missing`);
  }

  #derOrHex(answer: Answer): Uint8Array {
    const { body } = answer;
    // DER of a revocation list starts with 0x30 and a long-form length: never hex text.
    if (body[0] === 0x30 && (body[1] ?? 0) >= 0x80) return body;
    const text = Buffer.from(body).toString("latin1");
    if (!HEX_TEXT.test(text)) throw this.#malformed(answer, "revocation list is neither DER nor hex");
    return parseHex(text.trim(), "revocation list");
  }

  /**
   * The signed member cut out of the body as it was sent: the signature is over those very bytes, and
   * a parsed and re-written document would have others.
   */
  #signedDocument(
    answer: Answer,
    member: "tcbInfo" | "enclaveIdentity",
  ): { readonly text: string; readonly signature: Uint8Array } {
    const whole = reading("collateral-malformed", `collateral server ${this.host}: ${answer.path}`, () =>
      utf8Decode(answer.body, member),
    );
    const groups = SIGNED_DOCUMENT[member].map((form) => form.exec(whole)?.groups).find((found) => found !== undefined);
    const { text, signature } = groups ?? {};
    if (text === undefined || signature === undefined)
      throw this.#malformed(answer, `expected {"${member}": {...}, "signature": 128 hex digits}`);
    return { text, signature: parseHex(signature, "signature") };
  }

  #malformed({ path }: Answer, text: string, cause?: unknown): AttestError {
    return new AttestError("collateral-malformed", `collateral server ${this.host}: ${path}: ${text}`, { cause });
  }
}

const issueQuery = (issue: TcbIssue): string =>
  typeof issue === "number" ? `tcbEvaluationDataNumber=${issue}` : `update=${issue}`;

interface Answer {
  readonly path: string;
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

const HEX_TEXT = /^\s*(?:[0-9a-fA-F]{2})+\s*$/;

/** A document and its signature, in either order. */
const SIGNED_DOCUMENT = { tcbInfo: formsOf("tcbInfo"), enclaveIdentity: formsOf("enclaveIdentity") };

function formsOf(member: string): readonly RegExp[] {
  const document = `"${member}"\\s*:\\s*(?<text>\\{.*\\})`;
  const signature = `"signature"\\s*:\\s*"(?<signature>[0-9a-fA-F]{128})"`;
  return [
    [document, signature],
    [signature, document],
  ].map(([first, second]) => new RegExp(`^\\s*\\{\\s*${first}\\s*,\\s*${second}\\s*\\}\\s*$`, "s"));
}
