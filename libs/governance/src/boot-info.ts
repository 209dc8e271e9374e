import { z } from "zod";
import { AuthSimpleError } from "./errors.ts";

const schema = z.object({
  mrAggregated: z.string(),
  osImageHash: z.string(),
  appId: z.string(),
  composeHash: z.string(),
  instanceId: z.string(),
  deviceId: z.string(),
  tcbStatus: z.string().default(""),
  advisoryIds: z.array(z.string()).default([]),
  mrSystem: z.string().default(""),
  teeVariant: z.string().default(""),
});

/** What a KMS says about who asks for keys. Other keys of the request are ignored. */
export type BootInfo = z.output<typeof schema>;

/** @throws AuthSimpleError `request-invalid`; its `cause` is the validator's report */
export function parseBootInfo(text: string): BootInfo {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new AuthSimpleError("request-invalid", "request is not valid JSON", { cause });
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw new AuthSimpleError("request-invalid", z.prettifyError(parsed.error), { cause: parsed.error });
  return parsed.data;
}
