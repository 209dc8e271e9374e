import { BytesError, utf8 } from "@dstack/bytes";
import { AttestError, encodeAppInfo, decodeAppInfo } from "@dstack/attest";
import { Encoder } from "@msgpack/msgpack";
import {
  derBitString,
  derContext,
  derElement,
  derOctetString,
  derOid,
  derSequence,
  derTime,
  derUnsigned,
} from "@dstack/der";
import { spkiDer } from "@dstack/keys";
import { decodeCsr, DSTACK_OID, encodeCsrV1, encodeCsrV2, RatlsError, readDstackExtensions } from "@dstack/ratls";
import { encodeAttestationV0, encodeEventLogJson } from "@dstack/attest";
import { keyOf } from "../../forge/forging-keys.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { mutateDer } from "../mutate-der.ts";
import type { Target } from "../target.ts";
import { good, smallAttestation } from "./seed-evidence.ts";

const findings = "libs/ratls/test/vectors/fuzz";
const isRatlsError = (error: unknown): boolean => error instanceof RatlsError;

export const ratlsExtension: Target = {
  name: "ratls-extension",
  about: "certificates with evidence, app info and usage in the dstack extensions",
  findings,
  seeds: () => {
    const attestation = smallAttestation();
    const info = encodeAppInfo(
      decodeAppInfo(new Encoder().encode([20, 32, 20, 32, 32, 32, 32, 0].map((length) => new Uint8Array(length)))),
    );
    const quoteHead = good.quote.subarray(0, 1300);
    return [
      certificate(
        [DSTACK_OID.attestation, encodeAttestationV0(attestation)],
        [DSTACK_OID.usage, utf8("kms:rpc")],
        [DSTACK_OID.appId, new Uint8Array(20)],
        [DSTACK_OID.appInfo, info],
      ),
      certificate(
        [DSTACK_OID.quote, good.quote],
        [DSTACK_OID.eventLog, utf8(encodeEventLogJson(attestation.platform.eventLog))],
      ),
      certificate([DSTACK_OID.quote, quoteHead], [DSTACK_OID.eventLog, utf8("ELGZv1")]),
      certificate(),
    ];
  },
  mutate: (random, seed, other) => (random.oneIn(3) ? mutateBytes(random, seed, other) : mutateDer(random, seed)),
  run: (input) => {
    const { attestation, usage, appId, appInfo } = readDstackExtensions(input);
    return [attestation, usage, appId, appInfo].map((part) => part !== undefined).join(" ");
  },
  isRefusal: isRatlsError,
};

/** Unsigned: readers of extensions do not check signatures. */
function certificate(...extensions: readonly (readonly [oid: string, payload: Uint8Array])[]): Uint8Array {
  const algorithm = derSequence(derOid("1.2.840.10045.4.3.2"));
  const tbs = derSequence(
    derContext(0, true, derUnsigned(2)),
    derUnsigned(1),
    algorithm,
    derSequence(),
    derSequence(derTime(0), derTime(2_000_000_000)),
    derSequence(),
    spkiDer(keyOf("stranger")),
    derContext(
      3,
      true,
      derSequence(
        ...extensions.map(([oid, payload]) => derSequence(derOid(oid), derElement(0x04, derOctetString(payload)))),
      ),
    ),
  );
  return derSequence(tbs, algorithm, derBitString(new Uint8Array(72)));
}

const CONFIG = {
  organization: "Dstack",
  subject: "a.example",
  altNames: ["a.example", "b.example"],
  serverAuth: true,
  clientAuth: false,
  withEvidence: true,
  withAppInfo: true,
  notBefore: 1_700_000_000,
  notAfter: 1_800_000_000,
};

/** The first byte stands for the API version, the rest is the request. */
export const csr: Target = {
  name: "csr",
  about: "certificate signing requests of versions 1 and 2",
  findings,
  seeds: () => {
    const publicKeyInfo = spkiDer(keyOf("stranger"));
    const attestation = smallAttestation();
    const v2 = encodeCsrV2({ publicKeyInfo, config: CONFIG, attestation });
    const v1 = encodeCsrV1({ publicKeyInfo, config: CONFIG, quote: good.quote.subarray(0, 1300), eventLogJson: "[]" });
    return [Uint8Array.of(2, ...v2), Uint8Array.of(1, ...v1), Uint8Array.of(0, ...v1)];
  },
  mutate: mutateBytes,
  run: (input) => {
    const request = decodeCsr((input[0] ?? 0) % 4, input.subarray(1));
    return `${request.config.altNames.length} names, ${request.attestation().platform.eventLog.length} entries`;
  },
  // Evidence of version 1 is read by the caller's own step, which refuses as the evidence's readers do.
  isRefusal: (error) => isRatlsError(error) || error instanceof AttestError || error instanceof BytesError,
};
