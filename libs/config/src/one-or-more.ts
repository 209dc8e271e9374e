import { z } from "zod";

const MAX_MANY = 8;

/** One text or a list of up to eight, tried in order; always read as a list. For keys that took one before. */
export const oneOrMore = (one: z.ZodType<string, string>, title: string) =>
  z
    .union([one, z.array(one).min(1).max(MAX_MANY)])
    .meta({ title: `${title}, or a list of up to ${MAX_MANY}, tried in order` })
    .transform((given): readonly string[] => (typeof given === "string" ? [given] : given));
