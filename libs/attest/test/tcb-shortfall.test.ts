import assert from "node:assert/strict";
import { test } from "node:test";
import { describeShortfall } from "@dstack/attest";
import type { QuoteVerification, TcbShortfall } from "@dstack/attest";
import { ENCLAVE, goodScene, goodSgxScene, TD, tcbLevel } from "../../../tests/forge/forged-evidence.ts";
import type { Scene } from "../../../tests/forge/forged-evidence.ts";
import { verifyScene } from "./forged.ts";

const reasonOf = ({ checks }: QuoteVerification, check: string): string =>
  checks.find(({ name }) => name === check)?.reason ?? "";

function shortfallOf(scene: Scene): TcbShortfall {
  const { shortfall } = verifyScene(scene);
  assert.ok(shortfall !== undefined);
  return shortfall;
}

/** Levels as Intel writes them: what each component stands for is said in each. */
function withKinds(scene: Scene): Scene {
  const kinds = (tcb: Record<string, Record<string, unknown>[]>, list: string, named: readonly [number, object][]) => {
    for (const [index, kind] of named) Object.assign(tcb[list]![index]!, kind);
  };
  for (const { tcb } of scene.tcbInfo["tcbLevels"] as { tcb: Record<string, Record<string, unknown>[]> }[]) {
    kinds(tcb, "sgxtcbcomponents", [
      [0, { category: "BIOS", type: "Early Microcode Update" }],
      [1, { category: "OS/VMM", type: "SGX Late Microcode Update" }],
      [2, { category: "OS/VMM", type: "TXT SINIT" }],
      [3, { category: "OS/VMM", type: "SEAMLDR ACM" }],
    ]);
    kinds(tcb, "tdxtcbcomponents", [
      [0, { category: "OS/VMM", type: "TDX Module" }],
      [2, { category: "OS/VMM", type: "TDX Late Microcode Update" }],
    ]);
  }
  return scene;
}

test("a platform whose TDX component is short of every level is told so, and not that its CPUSVN is", () => {
  const scene = withKinds(goodScene());
  scene.body.set([5, 1, 4], TD.teeTcbSvn);
  const reason = reasonOf(verifyScene(scene), "tcb-level");
  assert.equal(
    reason,
    "no matching TCB level: OutOfDate (2029-08-14) needs TDX component 2 at 5 (has 4) by a microcode update; " +
      "UpToDate (2029-08-14) needs TDX component 2 at 6 (has 4) by a microcode update; " +
      "by TCB evaluation 17, issued 2030-06-14T00:00:00Z",
  );
});

test("an outdated platform is told what the better level needs, in the status that it passes with", () => {
  const scene = withKinds(goodScene());
  scene.body.set([5, 1, 5], TD.teeTcbSvn);
  const verification = verifyScene(scene);
  assert.equal(verification.ok, true);
  assert.match(
    reasonOf(verification, "tcb-status"),
    /^OutOfDate; UpToDate .* needs TDX component 2 at 6 \(has 5\) by /,
  );
  assert.deepEqual(shortfallOf(scene).best, {
    status: "UpToDate",
    tcbDate: "2029-08-14T00:00:00Z",
    short: [{ part: "tdx-component", index: 2, has: 5, needs: 6, update: "microcode" }],
  });
});

test("names PCESVN and each SGX component with the update that Intel's document gives it", () => {
  const scene = withKinds(goodScene());
  Object.assign(scene.certificates.pck.platform!, { cpuSvn: new Uint8Array(16).fill(4), pceSvn: 11 });
  assert.deepEqual(
    shortfallOf(scene).best.short.map(({ part, index, has, needs, update }) => [part, index, has, needs, update]),
    [
      ["sgx-component", 0, 4, 5, "bios"],
      ["sgx-component", 1, 4, 5, "microcode"],
      ["sgx-component", 2, 4, 5, "sinit-module"],
      ["sgx-component", 3, 4, 5, "seam-loader"],
      ["sgx-component", 4, 4, 5, "bios-or-microcode"],
      ["pce", undefined, 11, 13, "pce"],
    ],
  );
});

test("names the TDX module and the quoting enclave where they are what is old", () => {
  const scene = goodScene();
  scene.body[TD.teeTcbSvn] = 3;
  scene.qeReport[ENCLAVE.isvSvn] = 5;
  const { nearest, best } = shortfallOf(scene);
  assert.deepEqual(best, nearest);
  assert.deepEqual(
    best.short.map(({ part, has, needs, update }) => [part, has, needs, update]),
    [
      ["tdx-module", 3, 4, "tdx-module"],
      ["quoting-enclave", 5, 8, "quoting-enclave"],
    ],
  );
  assert.equal(best.status, "UpToDate");
});

test("names component 0 as the TDX module's for modules of version 0, and not at all for later ones", () => {
  const scene = goodScene();
  scene.body.set([4, 0, 6], TD.teeTcbSvn);
  assert.deepEqual(shortfallOf(scene).best.short, [
    { part: "tdx-component", index: 0, has: 4, needs: 5, update: "tdx-module" },
  ]);
  scene.body.set([4, 1, 6], TD.teeTcbSvn);
  assert.equal(verifyScene(scene).shortfall, undefined);
});

test("says the nearest better level apart from the best one", () => {
  const scene = goodScene();
  scene.tcbInfo["tcbLevels"] = [
    tcbLevel({ sgx: [9, 9], pceSvn: 13, tdx: [5, 0, 6], status: "UpToDate" }),
    tcbLevel({ sgx: [6], pceSvn: 13, tdx: [5, 0, 6], status: "SWHardeningNeeded" }),
    tcbLevel({ sgx: [5], pceSvn: 13, tdx: [5, 0, 6], status: "OutOfDate" }),
  ];
  const shortfall = shortfallOf(scene);
  assert.equal(shortfall.nearest.status, "SWHardeningNeeded");
  assert.equal(shortfall.nearest.short.length, 1);
  assert.equal(shortfall.best.status, "UpToDate");
  assert.equal(shortfall.best.short.length, 2);
  assert.match(describeShortfall(shortfall), /^SWHardeningNeeded .*; UpToDate .*; by TCB evaluation 17/);
});

test("tells an SGX platform nothing about TDX", () => {
  const scene = goodSgxScene();
  scene.tcbInfo["tcbLevels"] = [
    tcbLevel({ sgx: [6], pceSvn: 13, tdx: [200], status: "UpToDate" }),
    tcbLevel({ sgx: [5], pceSvn: 13, tdx: [], status: "OutOfDate" }),
  ];
  assert.deepEqual(
    shortfallOf(scene).best.short.map(({ part }) => part),
    ["sgx-component"],
  );
});

test("finds nothing short where the platform is current, or no level is better", () => {
  assert.equal(verifyScene(goodScene()).shortfall, undefined);
  const hardening = goodScene();
  (hardening.tcbInfo["tcbLevels"] as Record<string, unknown>[])[0]!["tcbStatus"] = "SWHardeningNeeded";
  const verification = verifyScene(hardening);
  assert.equal(verification.shortfall, undefined);
  assert.equal(reasonOf(verification, "tcb-status"), "SWHardeningNeeded");
  const revoked = goodScene();
  for (const level of revoked.tcbInfo["tcbLevels"] as Record<string, unknown>[]) level["tcbStatus"] = "Revoked";
  revoked.certificates.pck.platform!.pceSvn = 10;
  assert.match(reasonOf(verifyScene(revoked), "tcb-level"), /Intel lists none that is not revoked; CPUSVN 0505/);
});

test("a revoked platform is told which part is revoked and which level would not be", () => {
  const scene = goodScene();
  (scene.tcbInfo["tcbLevels"] as Record<string, unknown>[])[1]!["tcbStatus"] = "Revoked";
  scene.certificates.pck.platform!.pceSvn = 11;
  const reason = reasonOf(verifyScene(scene), "tcb-status");
  assert.match(reason, /^platform or TDX module is revoked; UpToDate .* needs PCESVN at 13 \(has 11\)/);
});

test("gives no shortfall of a quote that is not the platform's own", () => {
  const scene = goodScene();
  scene.body.set([5, 1, 4], TD.teeTcbSvn);
  scene.signers.quote = "pck";
  assert.equal(verifyScene(scene).shortfall, undefined);
});
