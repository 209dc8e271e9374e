import { fail } from "@dstack/attest";
import { EVIDENCE_REQUIRED, evidenceFromJson, evidenceRefusal } from "@dstack/verify";
import { environmentOf, judgeEvidence } from "./context.ts";
import { expectations } from "./judge-app.ts";
import type { JudgeGatewayOptions } from "./judge-gateway.ts";
import { platformFacts } from "./platform-tcb.ts";
import { concludeResult, identityOf, NO_IDENTITY, type VerifyResult } from "./result.ts";
import type { EvidenceSubject } from "./subject.ts";

/** Bare evidence, such as a guest's GetQuote answer: who it is of, and of when, its report data alone can tell. */
export async function judgeEvidenceFile(
  file: string,
  { evidence }: EvidenceSubject,
  { context, expected, accept }: JudgeGatewayOptions,
): Promise<VerifyResult> {
  const parts = {
    kind: "evidence",
    what: file,
    environment: environmentOf(context),
    required: [...EVIDENCE_REQUIRED, "tcb"],
  } as const;
  try {
    const judged = await judgeEvidence(evidenceFromJson(evidence), context, undefined);
    const { attestation, osImage, checks } = judged;
    if (!attestation.ok) return concludeResult({ ...parts, checks, sections: [], identity: NO_IDENTITY }, accept);
    const { appInfo } = attestation;
    const facts = [
      { name: "app", value: Buffer.from(appInfo.appId).toString("hex") },
      { name: "compose hash", value: Buffer.from(appInfo.composeHash).toString("hex") },
      {
        name: "OS image",
        value: `${osImage?.metadata?.version ?? "version not known here"}, ${Buffer.from(appInfo.osImageHash).toString("hex")}`,
      },
      { name: "report data", value: Buffer.from(attestation.report.reportData).toString("hex") },
    ];
    return concludeResult(
      {
        ...parts,
        checks: [...checks, ...expectations(expected, appInfo)],
        sections: [{ title: "Evidence", facts: [...facts, ...platformFacts("platform", attestation.quote)] }],
        identity: identityOf(judged),
      },
      accept,
    );
  } catch (error) {
    const reason = evidenceRefusal(error);
    if (reason === undefined) throw error;
    return concludeResult(
      { ...parts, checks: [{ name: "evidence", ...fail(reason) }], sections: [], identity: NO_IDENTITY },
      accept,
    );
  }
}
