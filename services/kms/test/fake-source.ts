/** A KMS of a test's own making, for everything that a true source would never show. */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { reportDataFor } from "@dstack/attest";
import { derOid } from "@dstack/der";
import { generateP256, pkcs8Pem, spkiDer, type P256Key } from "@dstack/keys";
import { createLeaf, DSTACK_OID, USAGE } from "@dstack/ratls";
import { createRootCa, createTempCa } from "../src/certificates/kms-certificates.ts";
import type { Harness } from "./harness.ts";

/** One certificate that it shows. */
export interface Shown {
  readonly key: P256Key;
  readonly usage?: string;
  /** The key that the evidence is for; `key` unless given. */
  readonly evidenceFor?: P256Key;
  readonly unattested?: boolean;
  /** As certificates up to 0.5.8 have it: quote and event log alone, which name no OS image. */
  readonly legacy?: boolean;
  /** In the newer form, but for the configuration. */
  readonly withoutConfig?: boolean;
  /** What the evidence measures; the image's own files unless given. */
  readonly files?: Harness["image"]["files"];
}

export interface FakeSource {
  readonly url: string;
  close(): void;
}

/** The newer form's extension under a name that nobody reads; who takes no issuer's word does not miss the signature. */
function withoutNewerForm(pem: string): string {
  const der = Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ""), "base64");
  const oid = derOid(DSTACK_OID.attestation);
  const at = der.indexOf(oid);
  assert.ok(at > 0 && der.indexOf(oid, at + 1) === -1);
  der[at + oid.length - 1] = 0x7f;
  return `-----BEGIN CERTIFICATE-----\n${der.toString("base64").replace(/.{64}/g, "$&\n")}\n-----END CERTIFICATE-----\n`;
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
    withoutConfig = false,
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
      ...(unattested ? {} : { attestation: withoutConfig ? { ...attestation, config: "" } : attestation }),
    });
    return { key: pkcs8Pem(key), cert: legacy ? withoutNewerForm(leaf.pem) : leaf.pem };
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
