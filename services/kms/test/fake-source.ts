/** A KMS of a test's own making, for everything that a true source would never show. */
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { reportDataFor } from "@dstack/attest";
import { generateP256, pkcs8Pem, spkiDer, type P256Key } from "@dstack/keys";
import { createLeaf, USAGE } from "@dstack/ratls";
import { createRootCa, createTempCa } from "../src/certificates/kms-certificates.ts";
import type { Harness } from "./harness.ts";

/** One certificate that it shows. */
export interface Shown {
  readonly key: P256Key;
  readonly usage?: string;
  /** The key that the evidence is for; `key` unless given. */
  readonly evidenceFor?: P256Key;
  readonly unattested?: boolean;
  /** As certificates up to 0.5.8 have it: the evidence names no OS image. */
  readonly legacy?: boolean;
  /** What the evidence measures; the image's own files unless given. */
  readonly files?: Harness["image"]["files"];
}

export interface FakeSource {
  readonly url: string;
  close(): void;
}

/**
 * @param shown one for each connection, the last one for all that follow
 * @param handed the root key that it hands over; the one of its root certificate unless given
 */
export async function startFakeSource(
  harness: Harness,
  shown: readonly [Shown, ...Shown[]],
  handed?: P256Key,
): Promise<FakeSource> {
  const now = Math.floor(Date.now() / 1000);
  const rootCa = createRootCa(generateP256(), now);
  const tempCa = createTempCa(generateP256(), now);
  const contextOf = ({
    key,
    usage = USAGE.kmsRpc,
    evidenceFor = key,
    unattested = false,
    legacy = false,
    files = harness.image.files,
  }: Shown) => {
    const { attestation } = harness.guest({ files, reportData: reportDataFor("ratls-cert", spkiDer(evidenceFor)) });
    const leaf = createLeaf({
      commonName: "127.0.0.1",
      issuer: rootCa,
      publicPoint: key.publicPoint,
      altNames: ["127.0.0.1"],
      usage,
      now,
      ...(unattested ? {} : { attestation: legacy ? { ...attestation, config: "" } : attestation }),
    });
    return { key: pkcs8Pem(key), cert: leaf.pem };
  };
  const [first, ...left] = shown;
  const server: Server = createServer(contextOf(first), (request, response) => {
    const next = left.shift();
    if (next !== undefined) server.setSecureContext(contextOf(next));
    request.resume();
    response.end(
      JSON.stringify(
        request.url?.includes("GetTempCaCert")
          ? { temp_ca_cert: tempCa.pem, temp_ca_key: pkcs8Pem(tempCa.key), ca_cert: rootCa.pem }
          : {
              temp_ca_key: pkcs8Pem(tempCa.key),
              keys: [{ ca_key: pkcs8Pem(handed ?? rootCa.key), k256_key: "42".repeat(32) }],
            },
      ),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/prpc`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
