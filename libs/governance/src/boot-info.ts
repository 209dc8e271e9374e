import { parseJson } from "@dstack/bytes";
import { excerpt } from "@dstack/errors";
import { z } from "zod";
import { GovernanceError } from "./errors.ts";

/** The longest that is honest is a hash of 64 bytes in hex. What is taken is logged, so it has an end. */
const text = z.string().max(256);

const schema = z.object({
  mrAggregated: text,
  osImageHash: text,
  appId: text,
  composeHash: text,
  instanceId: text,
  deviceId: text,
  tcbStatus: text.default(""),
  advisoryIds: z.array(z.string().max(64)).max(256).default([]),
  mrSystem: text.default(""),
  teeVariant: text.default(""),
});

/** What a KMS says about who asks for keys. Other keys of the request are ignored. */
export type BootInfo = z.output<typeof schema>;

/** The same as a KMS sends it, with what no rule of ours looks at but a webhook of others may: hex without prefix. */
export type SentBootInfo = BootInfo & {
  readonly attestationMode: string;
  readonly mrtd: string;
  readonly rtmr0: string;
  readonly rtmr1: string;
  readonly rtmr2: string;
  readonly rtmr3: string;
  readonly keyProviderInfo: string;
};

/** Which of the two questions: may this app boot, or may this KMS. */
export type BootKind = "app" | "kms";

/** `rule` is the part of the policy that decided, `field` the member of the request that it looked at. */
export type Decision =
  | { readonly isAllowed: true }
  | { readonly isAllowed: false; readonly reason: string; readonly rule: string; readonly field: keyof BootInfo };

/** @throws GovernanceError `request-invalid`; its `cause` is the validator's report */
export function parseBootInfo(text: string): BootInfo {
  let json: unknown;
  try {
    json = parseJson(text, "request");
  } catch (cause) {
    throw new GovernanceError("request-invalid", (cause as Error).message, { cause });
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success)
    // As many complaints as the request has wrong members.
    throw new GovernanceError(
      "request-invalid",
      excerpt(z.prettifyError(parsed.error), { maxChars: 1_024, lines: true }),
      { cause: parsed.error },
    );
  return parsed.data;
}
