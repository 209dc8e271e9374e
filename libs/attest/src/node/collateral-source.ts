/** Fetches collateral from a provisioning certificate caching service (PCCS) and keeps it while it is valid. */
import { BytesError, parseHex, toHex, utf8Decode } from "@dstack/bytes";
import { commonName, parseCertificateChain, parseRevocationList } from "../certificate.ts";
import type { QuoteCollateral } from "../collateral.ts";
import { AttestError } from "../errors.ts";
import { readPckExtension } from "../pck-extension.ts";
import type { Quote } from "../quote.ts";
import { parseQeIdentity, parseTcbInfo } from "../tcb-info.ts";

/** Where verification takes collateral from. */
export interface CollateralSource {
  /** @throws AttestError `collateral-unavailable`, `collateral-malformed` */
  collateralFor(quote: Quote, signal?: AbortSignal): Promise<QuoteCollateral>;
}

export interface CollateralFetcherOptions {
  /** Base URL; a trailing "/", "/sgx/certification/v4" or "/tdx/certification/v4" is taken off. */
  readonly pccsUrl: string;
  /** For all requests of one fetch together; 30,000 unless given. */
  readonly timeoutMs?: number;
  /** Milliseconds. */
  readonly clock?: { now(): number };
  readonly fetch?: typeof globalThis.fetch;
}

const MAX_DOCUMENT_BYTES = 1024 * 1024;
const MAX_CACHED = 64;
/** Asked again after this even while valid, so that a new revocation list is seen the same day. */
const MAX_AGE_MS = 4 * 60 * 60 * 1000;

/** Always this collateral: for tests and for documents at hand. */
export function fixedCollateral(collateral: QuoteCollateral): CollateralSource {
  return { collateralFor: () => Promise.resolve(collateral) };
}

/**
 * Collateral by FMSPC, certificate authority and TEE. Requests for the same key share one fetch;
 * what was fetched is kept until the earliest nextUpdate, at most four hours.
 */
export class CollateralFetcher implements CollateralSource {
  readonly #base: string;
  readonly #timeoutMs: number;
  readonly #clock: { now(): number };
  readonly #fetch: typeof globalThis.fetch;
  readonly #cache = new Map<string, { readonly collateral: QuoteCollateral; readonly until: number }>();
  readonly #pending = new Map<string, Promise<QuoteCollateral>>();

  /** @throws AttestError `collateral-unavailable` where the URL is none */
  constructor(options: CollateralFetcherOptions) {
    this.#base = baseUrl(options.pccsUrl);
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#clock = options.clock ?? Date;
    this.#fetch = options.fetch ?? globalThis.fetch;
  }

  async collateralFor(quote: Quote, signal?: AbortSignal): Promise<QuoteCollateral> {
    const platform = platformOf(quote);
    const key = `${platform.tee} ${platform.ca} ${platform.fmspc}`;
    const cached = this.#cache.get(key);
    if (cached !== undefined && this.#clock.now() < cached.until) return cached.collateral;
    let pending = this.#pending.get(key);
    if (pending === undefined) {
      // The shared fetch has its own deadline: one caller's abort must not fail the others.
      pending = this.#fetchAll(platform, AbortSignal.timeout(this.#timeoutMs)).finally(() => this.#pending.delete(key));
      this.#pending.set(key, pending);
      pending.then((collateral) => this.#keep(key, collateral), () => undefined);
    }
    return signal === undefined ? pending : unlessAborted(pending, signal);
  }

  #keep(key: string, collateral: QuoteCollateral): void {
    const oldest = this.#cache.keys().next();
    if (this.#cache.size >= MAX_CACHED && oldest.done === false) this.#cache.delete(oldest.value);
    this.#cache.set(key, { collateral, until: Math.min(expiryMs(collateral), this.#clock.now() + MAX_AGE_MS) });
  }

  async #fetchAll({ tee, ca, fmspc }: Platform, signal: AbortSignal): Promise<QuoteCollateral> {
    const [pckCrl, rootCrl, tcb, identity] = await Promise.all([
      this.#get(`/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`, signal),
      this.#get("/sgx/certification/v4/rootcacrl", signal),
      this.#get(`/${tee}/certification/v4/tcb?fmspc=${fmspc}`, signal),
      this.#get(`/${tee}/certification/v4/qe/identity?update=standard`, signal),
    ]);
    const tcbInfo = signedDocument(tcb.body, "tcbInfo");
    const qeIdentity = signedDocument(identity.body, "enclaveIdentity");
    return {
      pckCrlIssuerChain: chainHeader(pckCrl, "SGX-PCK-CRL-Issuer-Chain"),
      rootCaCrl: derOrHex(rootCrl.body),
      pckCrl: derOrHex(pckCrl.body),
      tcbInfoIssuerChain: chainHeader(tcb, "TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"),
      tcbInfo: tcbInfo.text,
      tcbInfoSignature: tcbInfo.signature,
      qeIdentityIssuerChain: chainHeader(identity, "SGX-Enclave-Identity-Issuer-Chain"),
      qeIdentity: qeIdentity.text,
      qeIdentitySignature: qeIdentity.signature,
    };
  }

  async #get(path: string, signal: AbortSignal): Promise<Document> {
    const url = `${this.#base}${path}`;
    try {
      const response = await this.#fetch(url, { signal, redirect: url.startsWith("https:") ? "follow" : "error" });
      const body = await readCapped(response, path);
      if (response.status !== 200) throw new AttestError("collateral-unavailable", `collateral server: ${path} answered ${response.status}`);
      return { path, body, headers: response.headers };
    } catch (cause) {
      if (cause instanceof AttestError) throw cause;
      const reason = cause instanceof Error ? (cause.cause instanceof Error ? cause.cause.message : cause.message) : String(cause);
      throw new AttestError("collateral-unavailable", `collateral server ${new URL(this.#base).host}: ${path}: ${reason}`, { cause });
    }
  }
}

interface Platform {
  readonly tee: "sgx" | "tdx";
  readonly ca: "processor" | "platform";
  /** 12 upper-case hex digits. */
  readonly fmspc: string;
}

interface Document {
  readonly path: string;
  readonly body: Uint8Array;
  readonly headers: Headers;
}

function platformOf(quote: Quote): Platform {
  if (quote.certification.kind !== "pem-chain") {
    throw new AttestError("collateral-unavailable", "quote: its PCK certificate is named by encrypted PPID only, which is not supported");
  }
  const [pck] = parseCertificateChain(utf8Decode(quote.certification.pem, "PCK chain"), "PCK chain");
  if (pck === undefined) throw new AttestError("quote-malformed", "quote: no PCK certificate");
  return {
    tee: quote.header.tee,
    ca: commonName(pck.issuer).includes("Platform") ? "platform" : "processor",
    fmspc: toHex(readPckExtension(pck).fmspc).toUpperCase(),
  };
}

function baseUrl(text: string): string {
  const trimmed = text.replace(/\/+$/, "").replace(/\/(?:sgx|tdx)\/certification\/v4$/, "");
  const url = URL.parse(trimmed);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) {
    throw new AttestError("collateral-unavailable", "collateral server: expected an http or https URL");
  }
  return trimmed;
}

async function readCapped(response: Response, path: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    const bytes = chunk as Uint8Array;
    length += bytes.length;
    if (length > MAX_DOCUMENT_BYTES) throw new AttestError("collateral-malformed", `collateral server: ${path} is above ${MAX_DOCUMENT_BYTES} bytes`);
    chunks.push(bytes);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function chainHeader({ path, headers }: Document, ...names: readonly string[]): string {
  for (const name of names) {
    const value = headers.get(name);
    if (value === null) continue;
    try {
      return decodeURIComponent(value);
    } catch (cause) {
      throw new AttestError("collateral-malformed", `collateral server: ${path}: header ${name} is not URL-encoded`, { cause });
    }
  }
  throw new AttestError("collateral-malformed", `collateral server: ${path}: header ${names.join(" or ")} is missing`);
}

const HEX_TEXT = /^\s*(?:[0-9a-fA-F]{2})+\s*$/;

function derOrHex(body: Uint8Array): Uint8Array {
  // DER of a revocation list starts with 0x30 and a long-form length: never hex text.
  if (body[0] === 0x30 && (body[1] ?? 0) >= 0x80) return body;
  const text = Buffer.from(body).toString("latin1");
  if (!HEX_TEXT.test(text)) throw new AttestError("collateral-malformed", "collateral server: revocation list is neither DER nor hex");
  return parseHex(text.trim(), "revocation list");
}

/**
 * The signed member cut out of the body as it was sent: the signature is over those very bytes, and
 * a parsed and re-written document would have others.
 */
export function signedDocument(body: Uint8Array, member: "tcbInfo" | "enclaveIdentity"): { readonly text: string; readonly signature: Uint8Array } {
  const whole = utf8Decode(body, member);
  const match = new RegExp(`^\\s*\\{\\s*"${member}"\\s*:\\s*(\\{.*\\})\\s*,\\s*"signature"\\s*:\\s*"([0-9a-fA-F]{128})"\\s*\\}\\s*$`, "s").exec(whole)
    ?? new RegExp(`^\\s*\\{\\s*"signature"\\s*:\\s*"(?<signature>[0-9a-fA-F]{128})"\\s*,\\s*"${member}"\\s*:\\s*(?<text>\\{.*\\})\\s*\\}\\s*$`, "s").exec(whole);
  const text = match?.groups?.["text"] ?? match?.[1];
  const signature = match?.groups?.["signature"] ?? match?.[2];
  if (text === undefined || signature === undefined) throw new AttestError("collateral-malformed", `collateral server: expected {"${member}": {...}, "signature": 128 hex digits}`);
  return { text, signature: parseHex(signature, "signature") };
}

/** Milliseconds at which the first document goes stale; 0 where one cannot be read (nothing is kept then). */
function expiryMs(collateral: QuoteCollateral): number {
  try {
    return 1000 * Math.min(
      parseTcbInfo(collateral.tcbInfo).nextUpdate, parseQeIdentity(collateral.qeIdentity).nextUpdate,
      parseRevocationList(collateral.pckCrl).nextUpdate, parseRevocationList(collateral.rootCaCrl).nextUpdate,
    );
  } catch (error) {
    if (error instanceof Error && (error instanceof AttestError || error instanceof BytesError || error.name === "DerError")) return 0;
    throw error;
  }
}

async function unlessAborted<T>(pending: Promise<T>, signal: AbortSignal): Promise<T> {
  const failure = (): AttestError => new AttestError("collateral-unavailable", "collateral: the wait was aborted", { cause: signal.reason });
  if (signal.aborted) throw failure();
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(failure());
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([pending, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
