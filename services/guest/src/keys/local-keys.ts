import { createHash, randomBytes } from "node:crypto";
import type { Tee } from "@dstack/agent";
import { padReportData, type EnclaveReport } from "@dstack/attest";
import { equalBytes, toHex } from "@dstack/bytes";
import { errorChain } from "@dstack/errors";
import { openSealedBox, type KeyProviderAnswer } from "@dstack/key-provider";
import { x25519PublicKey } from "@dstack/keys";
import type { Logger } from "@dstack/log";
import { GuestError } from "../errors.ts";
import { keysFromSeed, type ReceivedKeys } from "./app-keys.ts";
import { askPatiently, type Round } from "./ask-patiently.ts";

/** Carries a quote to the key provider of the host's machine; the host is not trusted with the answer. */
export type AskHost = (quote: Uint8Array) => Promise<KeyProviderAnswer>;

/**
 * The enclave that an SGX quote speaks for.
 * @throws GuestError `keys-refused` where it does not verify, `keys-unavailable` where that cannot be told now
 */
export type ProviderVerifier = (quote: Uint8Array) => Promise<EnclaveReport>;

export interface LocalKeysOptions {
  readonly tee: Tee;
  readonly vmConfig: string;
  readonly ask: AskHost;
  readonly verify: ProviderVerifier;
  /** MRENCLAVE of the provider; empty where the manifest pins none. */
  readonly pinnedProviderId: Uint8Array;
  readonly log: Logger;
  /** Told when the guest has to wait for the provider. */
  readonly onWaiting: (why: string) => void;
  /** Unix seconds. */
  readonly now: () => number;
  /** How long to go on asking while there is no answer; an hour unless given. */
  readonly patienceMs?: number;
}

const SEED_BYTES = 32;

/**
 * Keys from the SGX key provider of the machine (docs: key-provider protocol): an X25519 key in a quote's report
 * data goes out, the seed comes back sealed for it, with a quote of the enclave that sealed it. Asks again with
 * growing pauses while nothing answers; an answer that is wrong is final.
 * @throws GuestError `keys-refused`, `keys-invalid`, `keys-unavailable`
 */
export async function requestLocalKeys(options: LocalKeysOptions): Promise<ReceivedKeys> {
  const { tee, vmConfig, now, log, onWaiting, patienceMs } = options;
  const { seed, mrEnclave } = await askPatiently(
    async () => {
      const answer = await askOnce(options);
      if (!answer.ok) log.warn({ error: errorChain(answer.error) }, "no keys from the local key provider");
      return answer;
    },
    { whom: "local key provider", onWaiting, ...(patienceMs === undefined ? {} : { patienceMs }) },
  );
  return keysFromSeed(seed, { kind: "local", mrEnclave }, { tee, vmConfig, now: now() });
}

interface Sealed {
  readonly seed: Uint8Array;
  readonly mrEnclave: Uint8Array;
}

/** One question; what may be different the next time is a value, what will not be is thrown. */
async function askOnce({ tee, vmConfig, ask, verify, pinnedProviderId }: LocalKeysOptions): Promise<Round<Sealed>> {
  const secret = new Uint8Array(randomBytes(32));
  const { platform } = await tee.attest(padReportData(x25519PublicKey(secret)), vmConfig);
  let answer: KeyProviderAnswer;
  try {
    answer = await ask(platform.quote);
  } catch (error) {
    return { ok: false, error };
  }
  let enclave: EnclaveReport;
  try {
    enclave = await verify(answer.providerQuote);
  } catch (error) {
    if (error instanceof GuestError && error.code === "keys-unavailable") return { ok: false, error };
    throw error;
  }
  checkProvider(enclave, answer.encryptedKey, pinnedProviderId);
  return { ok: true, value: { seed: openSeed(answer.encryptedKey, secret), mrEnclave: enclave.mrEnclave } };
}

/** The quote must be over this very box, and of the enclave that the manifest pins. */
function checkProvider({ reportData, mrEnclave }: EnclaveReport, box: Uint8Array, pinned: Uint8Array): void {
  const expected = createHash("sha256").update(box).digest();
  const bound = reportData.subarray(0, 32);
  if (!equalBytes(bound, expected))
    throw new GuestError(
      "keys-refused",
      `Invalid key hash: the key provider's quote is over ${toHex(bound)}, its sealed key hashes to ${toHex(expected)}`,
    );
  if (pinned.length > 0 && !equalBytes(mrEnclave, pinned))
    throw new GuestError("keys-refused", `Unexpected key provider id: ${toHex(mrEnclave)}, expected: ${toHex(pinned)}`);
}

function openSeed(box: Uint8Array, secret: Uint8Array): Uint8Array {
  let seed: Uint8Array;
  try {
    seed = openSealedBox(box, secret);
  } catch (cause) {
    throw new GuestError("keys-invalid", "the local key provider's answer cannot be opened", { cause });
  }
  if (seed.length !== SEED_BYTES)
    throw new GuestError(
      "keys-invalid",
      `the local key provider's seed is ${seed.length} bytes, expected ${SEED_BYTES}`,
    );
  return seed;
}
