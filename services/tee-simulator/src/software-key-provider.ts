/**
 * The local key provider of the simulated machine: the SGX enclave's work in software.
 * In: a quote of the simulated machine's trust domain, the sealing key of this folder.
 * Out: the trust domain's key, sealed for it, and a quote that says whose enclave sealed it.
 * Never: a key for a quote that does not verify under the development root, or of another machine; the sealing key
 * or a key derived from it in the log.
 */
import { createHash } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import { verifyQuote } from "@dstack/attest/node";
import { padReportData, tdReportOf, trustAnchorFromPem } from "@dstack/attest";
import { equalBytes, toHex } from "@dstack/bytes";
import { errorChain } from "@dstack/errors";
import {
  decodeQuestion,
  deriveProviderKey,
  encodeAnswer,
  KeyProviderError,
  readFrame,
  sealBox,
  writeFrame,
  type KeyProviderAnswer,
} from "@dstack/key-provider";
import type { Logger } from "@dstack/log";
import { SimulatorError } from "./errors.ts";
import { mockCollateral } from "./mock-collateral.ts";
import type { MockPki } from "./mock-pki.ts";
import { signMockEnclaveQuote } from "./mock-quote.ts";

export interface SoftwareKeyProvider {
  readonly pki: MockPki;
  /** 32 bytes, secret. */
  readonly sealingKey: Uint8Array;
  /** 16 bytes that name this machine's quoting enclave. */
  readonly qeId: Uint8Array;
  /** Milliseconds. */
  readonly clock: { now(): number };
}

/** No enclave was measured here: a name that no real one can have, hashed. */
export const SOFTWARE_ENCLAVE = {
  mrEnclave: sha256("dstack software key provider"),
  mrSigner: sha256("dstack software key provider, nobody's signature"),
};

/** As the reference: what more comes waits in the kernel. */
const MAX_CONNECTIONS = 32;
const CONNECTION_MS = 30_000;

/**
 * The key of the trust domain that this quote speaks for.
 * @throws SimulatorError `quote-refused`; AttestError for an SGX quote; KeysError for a recipient of small order
 */
export function answerQuote(quoteBytes: Uint8Array, provider: SoftwareKeyProvider): KeyProviderAnswer {
  const { pki, sealingKey, qeId } = provider;
  const now = Math.floor(provider.clock.now() / 1000);
  const verification = verifyQuote(quoteBytes, mockCollateral(pki, now), {
    now,
    trustAnchor: trustAnchorFromPem(pki.rootPem),
  });
  if (!verification.ok)
    throw new SimulatorError("quote-refused", `the quote is not of the simulated machine: ${verification.reason}`);
  const { quote } = verification;
  const report = tdReportOf(quote);
  const theirs = quote.header.userData.subarray(0, 16);
  if (!equalBytes(theirs, qeId))
    throw new SimulatorError(
      "quote-refused",
      `the quote is of another machine: quoting enclave ${toHex(theirs)}, ours is ${toHex(qeId)}`,
    );
  const encryptedKey = sealBox(deriveProviderKey(sealingKey, report), report.reportData.subarray(0, 32));
  const bound = padReportData(new Uint8Array(createHash("sha256").update(encryptedKey).digest()));
  return { encryptedKey, providerQuote: signMockEnclaveQuote(pki, SOFTWARE_ENCLAVE, bound, { qeId }) };
}

/** Serves until closed. One question a connection; who asks wrongly gets no answer, and the log says why. */
export function startSoftwareKeyProvider(
  options: SoftwareKeyProvider & { readonly host: string; readonly port: number; readonly log: Logger },
): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => void serve(socket, options));
  server.maxConnections = MAX_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once("error", reject).listen({ host: options.host, port: options.port }, () => {
      server.off("error", reject).on("error", (error) => options.log.error({ error: errorChain(error) }, "listener"));
      resolve(server);
    });
  });
}

async function serve(socket: Socket, options: SoftwareKeyProvider & { readonly log: Logger }): Promise<void> {
  const timer = setTimeout(() => socket.destroy(new Error("the question was not there in time")), CONNECTION_MS);
  socket.once("close", () => clearTimeout(timer)).on("error", () => undefined);
  try {
    const answer = answerQuote(decodeQuestion(await readFrame(socket)), options);
    writeFrame(socket, encodeAnswer(answer));
    options.log.info("gave a key to a trust domain of the simulated machine");
    socket.end();
  } catch (error) {
    // Whoever looks whether the port answers says nothing.
    const level = error instanceof KeyProviderError && error.code === "provider-silent" ? "debug" : "warn";
    options.log[level]({ error: errorChain(error) }, "a question without an answer");
    socket.destroy();
  }
}

function sha256(text: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(text).digest());
}
