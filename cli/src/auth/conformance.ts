import { readFile } from "node:fs/promises";
import type { Cli } from "../clients/cli.ts";
import { usage } from "../terminal/errors.ts";
import { table } from "../terminal/output.ts";
import { parseBootRequest } from "./boot-request.ts";
import type { AuthConformanceOptions } from "./options.ts";

/** `dstack auth conformance`: 3 where a behaviour is missing. */
export async function authConformance({ out }: Cli, url: string, options: AuthConformanceOptions): Promise<number> {
  const { json, print } = out;
  const { checkConformance } = await import("@dstack/governance/conformance");
  const allowed =
    options.allowed === undefined
      ? undefined
      : (parseBootRequest(await readFile(options.allowed, "utf8")) ?? usage(`${options.allowed} is no boot request`));
  const results = await checkConformance({
    url,
    allowed,
    answerKey: options.answerKey,
    bearerToken: options.tokenFile === undefined ? undefined : (await readFile(options.tokenFile, "utf8")).trim(),
  });
  const failed = results.filter(({ result }) => result === "fail").length;
  if (options.output === "json") json({ ok: failed === 0, results });
  else
    print(
      `${table(
        ["RESULT", "BEHAVIOUR", "WHY"],
        results.map(({ result, behaviour, reason }) => [result, behaviour, reason]),
      )}\n${results.length - failed} of ${results.length} behaviours hold or do not apply`,
    );
  return failed === 0 ? 0 : 3;
}
