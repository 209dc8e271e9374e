import assert from "node:assert/strict";
import { test } from "node:test";
import { mergeTcbStatus } from "@dstack/attest";
import type { QuoteVerification, TcbRules, TcbStatus } from "@dstack/attest";
import { ENCLAVE, goodScene, goodSgxScene, TD, tcbLevel, tdReport } from "../../../tests/forge/forged-evidence.ts";
import type { Scene } from "../../../tests/forge/forged-evidence.ts";
import { failuresOf, verifyScene } from "./forged.ts";

const FIVES = Array<number>(16).fill(5);
type Level = Record<string, unknown>;
type Accepted = Extract<QuoteVerification, { ok: true }>;

/** A platform whose 33 numbers all are 5, under a TDX module of version 0, and these levels. */
function platform(levels: readonly Level[]): Scene {
  const scene = goodScene();
  Object.assign(scene.certificates.pck.platform!, { cpuSvn: Uint8Array.from(FIVES), pceSvn: 5 });
  scene.body.set(FIVES, TD.teeTcbSvn);
  scene.body[TD.teeTcbSvn + 1] = 0;
  scene.tcbInfo["tcbLevels"] = levels;
  return scene;
}

const level = (
  change: Partial<{ sgx: readonly number[]; pceSvn: number; tdx: readonly number[] }>,
  status: string,
  advisories?: readonly string[],
): Level =>
  tcbLevel({
    sgx: FIVES,
    pceSvn: 5,
    tdx: [5, 0, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5],
    status,
    ...(advisories === undefined ? {} : { advisories }),
    ...change,
  });

const raised = (values: readonly number[], index: number): number[] => values.with(index, values[index]! + 1);

function accepted(scene: Scene, tcbRules: TcbRules = "intel"): Accepted {
  const verification = verifyScene(scene, { tcbRules });
  assert.ok(verification.ok, verification.ok ? "" : verification.reason);
  return verification;
}

const lowest = level({ sgx: [], pceSvn: 0, tdx: [] }, "OutOfDate");

test("takes the level that every number reaches exactly", () => {
  assert.equal(accepted(platform([level({}, "UpToDate"), lowest])).status, "UpToDate");
});

test("falls to the next level where any one number is too low", () => {
  const tdx = [5, 0, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5];
  for (let index = 0; index < 16; index++) {
    assert.equal(
      accepted(platform([level({ sgx: raised(FIVES, index) }, "UpToDate"), lowest])).status,
      "OutOfDate",
      `SGX component ${index}`,
    );
    assert.equal(
      accepted(platform([level({ tdx: raised(tdx, index) }, "UpToDate"), lowest])).status,
      "OutOfDate",
      `TDX component ${index}`,
    );
  }
  assert.equal(accepted(platform([level({ pceSvn: 6 }, "UpToDate"), lowest])).status, "OutOfDate");
});

test("judges TDX components 0 and 1 by the module's identity from version 1 on, the reference always by the level", () => {
  for (const index of [0, 1]) {
    const scene = goodScene();
    scene.tcbInfo["tcbLevels"] = [
      tcbLevel({ sgx: [5], pceSvn: 13, tdx: raised([5, 1, 6], index), status: "UpToDate" }),
      tcbLevel({ sgx: [], pceSvn: 0, tdx: [], status: "OutOfDate" }),
    ];
    assert.equal(accepted(scene).status, "UpToDate", `component ${index}`);
    assert.equal(accepted(scene, "reference").status, "OutOfDate", `component ${index}`);
  }
  const scene = goodScene();
  scene.tcbInfo["tcbLevels"] = [
    tcbLevel({ sgx: [5], pceSvn: 13, tdx: [5, 1, 7], status: "UpToDate" }),
    tcbLevel({ sgx: [], pceSvn: 0, tdx: [], status: "OutOfDate" }),
  ];
  assert.equal(accepted(scene).status, "OutOfDate", "component 2 counts by either rules");
});

test("compares SGX quotes by their SGX components alone", () => {
  const scene = goodSgxScene();
  scene.tcbInfo["tcbLevels"] = [tcbLevel({ sgx: [5], pceSvn: 13, tdx: FIVES.map(() => 200), status: "UpToDate" })];
  assert.equal(accepted(scene).status, "UpToDate");
  scene.tcbInfo["tcbLevels"] = [tcbLevel({ sgx: [6], pceSvn: 13, tdx: [], status: "UpToDate" })];
  assert.deepEqual(failuresOf(verifyScene(scene)), ["tcb-level tcb-level-missing", "tcb-status tcb-level-missing"]);
});

test("matches the component numbers of the PCK certificate, and CPUSVN where it has none", () => {
  const scene = platform([level({}, "UpToDate"), lowest]);
  scene.certificates.pck.platform!.components = FIVES.with(7, 4);
  assert.equal(accepted(scene).status, "OutOfDate");
});

test("puts levels in order whatever the order of the document", () => {
  const levels = [
    level({ sgx: [] }, "SWHardeningNeeded"),
    level({ pceSvn: 4 }, "ConfigurationNeeded"),
    level({ tdx: [] }, "OutOfDate"),
    level({}, "UpToDate"),
    level({ sgx: FIVES.with(15, 4) }, "ConfigurationAndSWHardeningNeeded"),
  ];
  for (const order of [levels, levels.toReversed(), [...levels.slice(2), ...levels.slice(0, 2)]])
    assert.equal(accepted(platform(order)).status, "UpToDate");
  // Without the best, the order is by SGX components, then PCE, then TDX.
  assert.equal(accepted(platform([levels[0]!, levels[1]!, levels[2]!, levels[4]!])).status, "OutOfDate");
  assert.equal(accepted(platform([levels[0]!, levels[4]!, levels[1]!])).status, "ConfigurationNeeded");
  assert.equal(accepted(platform([levels[0]!, levels[4]!])).status, "ConfigurationAndSWHardeningNeeded");
});

test("takes the highest level of module and quoting enclave at or below their version, whatever the order", () => {
  const isv = (isvsvn: number, tcbStatus: string, advisoryIDs: readonly string[] = []): object => ({
    tcb: { isvsvn },
    tcbDate: "2028-01-01T00:00:00Z",
    tcbStatus,
    advisoryIDs,
  });
  const scene = goodScene();
  const [module] = scene.tcbInfo["tdxModuleIdentities"] as Level[];
  module!["tcbLevels"] = [isv(1, "OutOfDate"), isv(6, "Revoked"), isv(5, "UpToDate", ["M-1"])];
  scene.qeIdentity["tcbLevels"] = [isv(1, "OutOfDate"), isv(9, "Revoked"), isv(8, "UpToDate", ["Q-1", "M-1"])];
  const verification = accepted(scene);
  assert.deepEqual([verification.status, verification.qeStatus], ["UpToDate", "UpToDate"]);
  assert.deepEqual(verification.advisoryIds, ["M-1", "Q-1"], "each once, sorted");
  assert.equal(verification.tcbDate, "2029-08-14T00:00:00Z");
  assert.equal(verification.earliestTcbDate, "2028-01-01T00:00:00Z");
});

test("finds a module's identity in either case of its hexadecimal version", () => {
  const scene = goodScene();
  scene.body[TD.teeTcbSvn + 1] = 0x0a;
  for (const id of ["TDX_0A", "TDX_0a"]) {
    (scene.tcbInfo["tdxModuleIdentities"] as Level[])[0]!["id"] = id;
    assert.equal(accepted(scene).status, "UpToDate");
  }
});

test("says what platform and quoting enclave come to, and what each is alone", () => {
  const scene = goodScene();
  (scene.tcbInfo["tcbLevels"] as Level[])[0]!["tcbStatus"] = "ConfigurationNeeded";
  scene.qeReport[ENCLAVE.isvSvn] = 4;
  const verification = accepted(scene);
  assert.deepEqual(
    [verification.status, verification.platformStatus, verification.qeStatus, verification.advisoryIds],
    ["OutOfDateConfigurationNeeded", "ConfigurationNeeded", "OutOfDate", ["FORGED-SA-00002"]],
  );
  assert.equal(accepted(scene, "reference").status, "OutOfDate");
  assert.match(
    verification.checks.find(({ name }) => name === "tcb-status")?.reason ?? "",
    /^OutOfDateConfigurationNeeded; ConfigurationNeeded \(2029-08-14\) needs QE SVN at 8 \(has 4\)/,
  );
});

const STATUSES: readonly TcbStatus[] = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
];

test("merges the status of platform and part as Intel does", () => {
  const outdated: readonly TcbStatus[] = [
    "OutOfDate",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "OutOfDateConfigurationNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
  ];
  for (const [index, status] of STATUSES.entries()) {
    assert.equal(mergeTcbStatus(status, "UpToDate"), status);
    assert.equal(mergeTcbStatus(status, "OutOfDate"), outdated[index]);
    assert.equal(mergeTcbStatus(status, "Revoked"), "Revoked");
  }
  assert.equal(mergeTcbStatus("UpToDate", "OutOfDateConfigurationNeeded"), "OutOfDateConfigurationNeeded");
  assert.equal(
    mergeTcbStatus("UpToDate", "ConfigurationNeeded"),
    "ConfigurationNeeded",
    "of a status that Intel gives no part, the worse",
  );
  assert.equal(mergeTcbStatus("ConfigurationNeeded", "SWHardeningNeeded"), "ConfigurationNeeded");
});

test("never names the milder of two statuses", () => {
  for (const [left, platformStatus] of STATUSES.entries()) {
    for (const [right, part] of STATUSES.entries()) {
      const merged = STATUSES.indexOf(mergeTcbStatus(platformStatus, part));
      assert.ok(merged >= Math.max(left, right), `${platformStatus} and ${part}`);
    }
  }
});

test("merges by the reference's rules to the worse of both", () => {
  for (const [left, platformStatus] of STATUSES.entries()) {
    for (const [right, part] of STATUSES.entries())
      assert.equal(mergeTcbStatus(platformStatus, part, "reference"), STATUSES[Math.max(left, right)]);
  }
});

/** A TD launched under module 01 at security version 3, on a platform that runs 5 by now. */
function oldLaunch(): Scene {
  const scene = Object.assign(goodScene(), { version: 5, bodyType: 3, body: tdReport(648) });
  scene.body.set([3, 1, 6], TD.teeTcbSvn);
  scene.body.set([5, 1, 6], TD.teeTcbSvn2);
  return scene;
}

const relaunchRows: readonly (readonly [string, (scene: Scene) => void, boolean])[] = [
  ["the module was updated since the launch", () => undefined, true],
  [
    "the module has exactly the newest version",
    (scene) => {
      scene.body[TD.teeTcbSvn2] = 4;
    },
    true,
  ],
  [
    "the module that runs is not the newest either",
    (scene) => {
      scene.body[TD.teeTcbSvn2] = 3;
    },
    false,
  ],
  [
    "the loader that runs is not the newest",
    (scene) => {
      scene.body[TD.teeTcbSvn2 + 2] = 5;
    },
    false,
  ],
  [
    "the module that runs has no identity",
    (scene) => {
      scene.body[TD.teeTcbSvn2 + 1] = 9;
    },
    false,
  ],
  [
    "a version 0 module runs at the newest level",
    (scene) => {
      scene.body[TD.teeTcbSvn2 + 1] = 0;
    },
    true,
  ],
  [
    "a version 0 module runs below the newest level",
    (scene) => {
      scene.body.set([4, 0, 6], TD.teeTcbSvn2);
    },
    false,
  ],
  [
    "the quoting enclave is old too",
    (scene) => {
      scene.qeReport[ENCLAVE.isvSvn] = 4;
    },
    false,
  ],
  [
    "the platform itself is old too",
    (scene) => {
      scene.certificates.pck.platform!.pceSvn = 11;
    },
    false,
  ],
  [
    "nothing is old",
    (scene) => {
      scene.body[TD.teeTcbSvn] = 5;
    },
    false,
  ],
];

for (const [what, edit, advised] of relaunchRows) {
  test(`${advised ? "advises" : "does not advise"} a relaunch where ${what}`, () => {
    const scene = oldLaunch();
    edit(scene);
    assert.equal(accepted(scene).relaunchAdvised, advised);
  });
}

test("does not advise a relaunch where only the loader of the launch was old, or of TD report 1.0", () => {
  const loader = oldLaunch();
  loader.body.set([5, 1, 5], TD.teeTcbSvn);
  const verification = accepted(loader);
  assert.deepEqual([verification.status, verification.relaunchAdvised], ["OutOfDate", false]);
  const old = goodScene();
  old.body[TD.teeTcbSvn] = 3;
  const plain = accepted(old);
  assert.deepEqual([plain.status, plain.relaunchAdvised], ["OutOfDate", false]);
});

test("keeps the status of a TD whose relaunch is advised", () => {
  assert.equal(accepted(oldLaunch()).status, "OutOfDate");
});
