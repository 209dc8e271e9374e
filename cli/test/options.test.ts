import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type * as apps from "../src/apps/options.ts";
import type * as auth from "../src/auth/options.ts";
import type * as collateral from "../src/collateral/options.ts";
import type * as evidence from "../src/evidence/options.ts";
import type * as images from "../src/images/options.ts";
import type * as kms from "../src/kms/options.ts";
import type * as measure from "../src/measure/options.ts";
import type * as stack from "../src/stack/options.ts";
import type * as tcb from "../src/tcb/options.ts";
import type * as verify from "../src/verify/options.ts";

/**
 * Whether only declared names can be read of a type. A declaration whose flags TypeScript does not see as literals
 * gives a type of which every name can be read, and a renamed option would compile.
 */
type Closed<Options> = string extends keyof Options ? false : true;

const CLOSED: {
  "apps.DeployOptions": Closed<apps.DeployOptions>;
  "apps.AppsOptions": Closed<apps.AppsOptions>;
  "apps.InfoOptions": Closed<apps.InfoOptions>;
  "apps.LogsOptions": Closed<apps.LogsOptions>;
  "apps.StopOptions": Closed<apps.StopOptions>;
  "apps.RollbackOptions": Closed<apps.RollbackOptions>;
  "apps.EnvShowOptions": Closed<apps.EnvShowOptions>;
  "auth.SendingOptions": Closed<auth.SendingOptions>;
  "auth.AuthShowOptions": Closed<auth.AuthShowOptions>;
  "auth.AuthExplainOptions": Closed<auth.AuthExplainOptions>;
  "auth.AuthHistoryOptions": Closed<auth.AuthHistoryOptions>;
  "auth.AuthConformanceOptions": Closed<auth.AuthConformanceOptions>;
  "auth.AuthAnswerKeyOptions": Closed<auth.AuthAnswerKeyOptions>;
  "auth.AuthAllowOptions": Closed<auth.AuthAllowOptions>;
  "auth.AuthDenyOptions": Closed<auth.AuthDenyOptions>;
  "auth.AuthImportOptions": Closed<auth.AuthImportOptions>;
  "auth.AuthDiffOptions": Closed<auth.AuthDiffOptions>;
  "auth.AuthDeployOptions": Closed<auth.AuthDeployOptions>;
  "auth.AuthUpgradeOptions": Closed<auth.AuthUpgradeOptions>;
  "auth.AuthSetInfoOptions": Closed<auth.AuthSetInfoOptions>;
  "collateral.CollateralFetchOptions": Closed<collateral.CollateralFetchOptions>;
  "collateral.CollateralShowOptions": Closed<collateral.CollateralShowOptions>;
  "collateral.CollateralPinOptions": Closed<collateral.CollateralPinOptions>;
  "evidence.EvidenceDecodeOptions": Closed<evidence.EvidenceDecodeOptions>;
  "evidence.EvidenceReplayOptions": Closed<evidence.EvidenceReplayOptions>;
  "images.ImageBuildOptions": Closed<images.ImageBuildOptions>;
  "images.ImageListOptions": Closed<images.ImageListOptions>;
  "kms.KmsCheckOptions": Closed<kms.KmsCheckOptions>;
  "kms.KmsAuditVerifyOptions": Closed<kms.KmsAuditVerifyOptions>;
  "kms.KmsAuditShowOptions": Closed<kms.KmsAuditShowOptions>;
  "kms.KmsKeygenOptions": Closed<kms.KmsKeygenOptions>;
  "kms.KmsBackupOptions": Closed<kms.KmsBackupOptions>;
  "kms.KmsRestoreOptions": Closed<kms.KmsRestoreOptions>;
  "kms.KmsShareOpenOptions": Closed<kms.KmsShareOpenOptions>;
  "kms.KmsShareSubmitOptions": Closed<kms.KmsShareSubmitOptions>;
  "measure.MrMeasureOptions": Closed<measure.MrMeasureOptions>;
  "measure.MrDiagnoseOptions": Closed<measure.MrDiagnoseOptions>;
  "measure.ComposeHashOptions": Closed<measure.ComposeHashOptions>;
  "stack.UpOptions": Closed<stack.UpOptions>;
  "stack.DownOptions": Closed<stack.DownOptions>;
  "stack.DoctorOptions": Closed<stack.DoctorOptions>;
  "tcb.TcbStatusOptions": Closed<tcb.TcbStatusOptions>;
  "verify.VerifyOptions": Closed<verify.VerifyOptions>;
  "verify.VerifyKmsOptions": Closed<verify.VerifyKmsOptions>;
  "verify.VerifyGatewayOptions": Closed<verify.VerifyGatewayOptions>;
  "verify.VerifyQuoteOptions": Closed<verify.VerifyQuoteOptions>;
} = {
  "apps.DeployOptions": true,
  "apps.AppsOptions": true,
  "apps.InfoOptions": true,
  "apps.LogsOptions": true,
  "apps.StopOptions": true,
  "apps.RollbackOptions": true,
  "apps.EnvShowOptions": true,
  "auth.SendingOptions": true,
  "auth.AuthShowOptions": true,
  "auth.AuthExplainOptions": true,
  "auth.AuthHistoryOptions": true,
  "auth.AuthConformanceOptions": true,
  "auth.AuthAnswerKeyOptions": true,
  "auth.AuthAllowOptions": true,
  "auth.AuthDenyOptions": true,
  "auth.AuthImportOptions": true,
  "auth.AuthDiffOptions": true,
  "auth.AuthDeployOptions": true,
  "auth.AuthUpgradeOptions": true,
  "auth.AuthSetInfoOptions": true,
  "collateral.CollateralFetchOptions": true,
  "collateral.CollateralShowOptions": true,
  "collateral.CollateralPinOptions": true,
  "evidence.EvidenceDecodeOptions": true,
  "evidence.EvidenceReplayOptions": true,
  "images.ImageBuildOptions": true,
  "images.ImageListOptions": true,
  "kms.KmsCheckOptions": true,
  "kms.KmsAuditVerifyOptions": true,
  "kms.KmsAuditShowOptions": true,
  "kms.KmsKeygenOptions": true,
  "kms.KmsBackupOptions": true,
  "kms.KmsRestoreOptions": true,
  "kms.KmsShareOpenOptions": true,
  "kms.KmsShareSubmitOptions": true,
  "measure.MrMeasureOptions": true,
  "measure.MrDiagnoseOptions": true,
  "measure.ComposeHashOptions": true,
  "stack.UpOptions": true,
  "stack.DownOptions": true,
  "stack.DoctorOptions": true,
  "tcb.TcbStatusOptions": true,
  "verify.VerifyOptions": true,
  "verify.VerifyKmsOptions": true,
  "verify.VerifyGatewayOptions": true,
  "verify.VerifyQuoteOptions": true,
};

test("no command can read an option that is not declared: each type of options is closed", () => {
  const sources = join(import.meta.dirname, "../src");
  const declared = globSync("*/options.ts", { cwd: sources })
    .filter((file) => !file.startsWith("terminal/"))
    .flatMap((file) =>
      [...readFileSync(join(sources, file), "utf8").matchAll(/^export type (\w+) =/gm)].map(
        ([, name]) => `${file.split("/")[0]}.${name}`,
      ),
    );
  assert.deepEqual(Object.keys(CLOSED).toSorted(), declared.toSorted(), "each has its row here");
});

test("an option of another name is no option", () => {
  const options = { vcpu: "2" } as apps.DeployOptions;
  // @ts-expect-error -- the name is --vcpu: where this compiles, options are typed no more
  assert.equal(options.vcpus, undefined);
});
