import assert from "node:assert/strict";
import { test } from "node:test";
import { appId, type ReportData } from "@dstack/bytes";
import { reportDataFor, type Attestation } from "@dstack/attest";
import { generateP256, spkiDer } from "@dstack/keys";
import {
  attestedTransport,
  checkPeerCertificate,
  createAppCa,
  createCa,
  createLeaf,
  RatlsError,
  verifyPeer,
  type ChainCheck,
  type EvidenceCheck,
  type EvidenceVerifier,
  type LeafOptions,
} from "@dstack/ratls";

const NOW = 1_764_000_000;
const APP = appId(new Uint8Array(20).fill(1));
const OTHER = appId(new Uint8Array(20).fill(2));
const root = createCa({
  organization: "Dstack",
  commonName: "Dstack KMS CA",
  key: generateP256(),
  pathLength: 1,
  now: NOW,
});
const appCa = createAppCa({ root, key: generateP256(), appId: APP, now: NOW });
const accepting: EvidenceVerifier = () => Promise.resolve();

interface Shape extends Partial<
  Pick<LeafOptions, "usage" | "appId" | "serverAuth" | "clientAuth" | "issuer" | "notAfter">
> {
  readonly evidence?: boolean;
}

/** A certificate chain as a peer would present it, and the SPKI of its leaf. */
function peer({ evidence = false, issuer = root, ...shape }: Shape): {
  readonly chain: Uint8Array[];
  readonly publicKeyInfo: Uint8Array;
} {
  const key = generateP256();
  const publicKeyInfo = spkiDer(key);
  const attestation: Attestation = {
    platform: { kind: "tdx", quote: new Uint8Array(9), eventLog: [] },
    runtimeEvents: [],
    reportData: reportDataFor("ratls-cert", publicKeyInfo),
    config: "",
  };
  const leaf = createLeaf({
    commonName: "peer",
    issuer,
    publicPoint: key.publicPoint,
    now: NOW,
    ...shape,
    ...(evidence ? { attestation } : {}),
  });
  return { chain: [leaf.certificate.raw, ...(issuer === appCa ? [appCa.certificate.raw] : [])], publicKeyInfo };
}

const verdict = async (
  chain: readonly Uint8Array[],
  check: Partial<ChainCheck> | Partial<EvidenceCheck>,
): Promise<string> => {
  try {
    await verifyPeer(chain, { end: "client", now: NOW, roots: [root.certificate], ...check } as ChainCheck);
    return "accepted";
  } catch (error) {
    return error instanceof RatlsError ? error.code : String(error);
  }
};

test("takes the KMS and an app at either end where chain, purpose and role hold", async () => {
  const kms = peer({ usage: "kms:rpc" });
  const app = peer({ issuer: appCa, usage: "app:custom", appId: APP, clientAuth: true });
  for (const end of ["client", "server"] as const)
    assert.equal(await verdict(kms.chain, { end, peer: { kind: "kms" } }), "accepted");
  assert.equal(await verdict(app.chain, { end: "client", peer: { kind: "app", appId: APP } }), "accepted");
});

test("refuses a peer of another role, app, purpose, root or time (DS #1255)", async () => {
  const kms = { kind: "kms" } as const;
  const app = { kind: "app", appId: APP } as const;
  const stranger = createCa({
    organization: "Dstack",
    commonName: "Dstack KMS CA",
    key: generateP256(),
    pathLength: 1,
    now: NOW,
  });
  const cases: readonly (readonly [string, Shape, Partial<ChainCheck>, string])[] = [
    ["an app as KMS", { issuer: appCa, usage: "app:custom", appId: APP }, { peer: kms }, "peer-refused"],
    ["the KMS as app", { usage: "kms:rpc", appId: APP }, { peer: app }, "peer-refused"],
    ["no usage", {}, { peer: kms }, "peer-refused"],
    ["another app", { issuer: appCa, usage: "app:custom", appId: OTHER }, { peer: app }, "peer-refused"],
    ["no app id", { issuer: appCa, usage: "app:custom" }, { peer: app }, "peer-refused"],
    [
      "a server's certificate for a client",
      { usage: "kms:rpc", serverAuth: true },
      { peer: kms, end: "client" },
      "peer-refused",
    ],
    [
      "a client's certificate for a server",
      { usage: "kms:rpc", clientAuth: true },
      { peer: kms, end: "server" },
      "peer-refused",
    ],
    ["another root of the same name", { usage: "kms:rpc", issuer: stranger }, { peer: kms }, "chain-refused"],
    ["an expired one", { usage: "kms:rpc", notAfter: NOW - 1 }, { peer: kms }, "chain-refused"],
  ];
  for (const [name, shape, check, expected] of cases)
    assert.equal(await verdict(peer(shape).chain, check), expected, name);
  assert.equal(await verdict([], { peer: kms }), "peer-refused");
  assert.equal(await verdict([Uint8Array.of(1, 2, 3)], { peer: kms }), "extension-malformed");
  for (const end of ["client", "server"] as const)
    assert.equal(
      await verdict(peer({ usage: "kms:rpc", serverAuth: true, clientAuth: true }).chain, { peer: kms, end }),
      "accepted",
    );
});

test("verifies evidence against the leaf's own key, beside the chain and instead of it (CVE-2026-33697)", async () => {
  const seen: ReportData[] = [];
  const noting: EvidenceVerifier = (_attestation, expected) => {
    seen.push(expected);
    return Promise.resolve();
  };
  const refusing: EvidenceVerifier = () => Promise.reject(new Error("quote is forged"));
  const shown = peer({ usage: "kms:rpc", evidence: true });
  const foreign = peer({
    usage: "kms:rpc",
    evidence: true,
    issuer: createCa({ commonName: "x", key: generateP256(), pathLength: 0, now: NOW }),
  });
  assert.equal(await verdict(shown.chain, { peer: { kind: "kms" } }), "accepted", "nobody asked for it");
  assert.equal(await verdict(shown.chain, { peer: { kind: "kms" }, verifyEvidence: noting }), "accepted");
  assert.equal(
    await verdict(foreign.chain, { peer: { kind: "attested" }, roots: "evidence-only", verifyEvidence: noting }),
    "accepted",
  );
  assert.equal(
    await verdict(foreign.chain, { peer: { kind: "kms" }, roots: "evidence-only", verifyEvidence: noting }),
    "accepted",
  );
  assert.deepEqual(
    seen,
    [shown, foreign, foreign].map(({ publicKeyInfo }) => reportDataFor("ratls-cert", publicKeyInfo)),
  );
  assert.match(await verdict(shown.chain, { peer: { kind: "kms" }, verifyEvidence: refusing }), /quote is forged/);
  assert.match(
    await verdict(foreign.chain, { peer: { kind: "attested" }, roots: "evidence-only", verifyEvidence: refusing }),
    /quote is forged/,
  );
});

test("takes absent evidence only where a root vouches for the peer, and a role only where it fits", async () => {
  const plain = peer({ usage: "kms:rpc" });
  assert.equal(await verdict(plain.chain, { peer: { kind: "kms" }, verifyEvidence: accepting }), "accepted");
  assert.equal(
    await verdict(plain.chain, { peer: { kind: "attested" }, roots: "evidence-only", verifyEvidence: accepting }),
    "peer-refused",
  );
  assert.equal(
    await verdict(peer({ usage: "app:custom", evidence: true }).chain, {
      peer: { kind: "kms" },
      roots: "evidence-only",
      verifyEvidence: accepting,
    }),
    "peer-refused",
  );
});

// DS #1237: a client that validates nothing cannot be written. The types refuse it, and so does the code
// where the types were not looked at.
test("no client or check can be built without somebody to say who the peer is", async () => {
  const baseUrl = "https://127.0.0.1:1/prpc";
  const trustedRoots = [root.pem] as const;
  const builds: readonly (readonly [RegExp, () => unknown])[] = [
    // @ts-expect-error a rule is required
    [/no peer rule is given/, () => attestedTransport({ baseUrl, trustedRoots })],
    // @ts-expect-error roots are required
    [/no root certificates are given/, () => attestedTransport({ baseUrl, peer: { kind: "kms" } })],
    // @ts-expect-error at least one root is required
    [/no root certificates are given/, () => attestedTransport({ baseUrl, trustedRoots: [], peer: { kind: "kms" } })],
    // @ts-expect-error a rule for an app names the app
    [/needs its id of 20 bytes/, () => attestedTransport({ baseUrl, trustedRoots, peer: { kind: "app" } })],
    // @ts-expect-error there is no rule for anybody
    [/no peer rule is given/, () => attestedTransport({ baseUrl, trustedRoots, peer: { kind: "any" } })],
    [
      /is for peers without root certificates/,
      // @ts-expect-error a peer that a root vouches for has a role
      () => attestedTransport({ baseUrl, trustedRoots, peer: { kind: "attested" } }),
    ],
    [
      /an evidence verifier is needed/,
      // @ts-expect-error without roots there must be a verifier
      () => attestedTransport({ baseUrl, trustedRoots: "evidence-only", peer: { kind: "kms" } }),
    ],
    [
      /use the rule attested/,
      () =>
        // @ts-expect-error without roots an app id in a certificate is nobody's word
        attestedTransport({
          baseUrl,
          trustedRoots: "evidence-only",
          peer: { kind: "app", appId: APP },
          verifyEvidence: accepting,
        }),
    ],
  ];
  for (const [expected, build] of builds) {
    assert.throws(
      build,
      (error: unknown) => error instanceof RatlsError && error.code === "rule-missing" && expected.test(error.message),
      build.toString(),
    );
  }
  const { chain } = peer({ usage: "kms:rpc" });
  await assert.rejects(
    // @ts-expect-error a rule is required
    verifyPeer(chain, { end: "client", now: NOW, roots: [root.certificate] }),
    /no peer rule is given/,
  );
  // @ts-expect-error the rule is required here as well
  assert.throws(() => checkPeerCertificate(chain[0]!), TypeError);
});
