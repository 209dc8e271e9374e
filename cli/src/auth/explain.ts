import { readFile } from "node:fs/promises";
import { comparable } from "@dstack/governance";
import type { Cli } from "../clients/cli.ts";
import { CliError, usage } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import { lastRefusal, parseBootRequest, type BootRequest } from "./boot-request.ts";
import { explainBoot } from "./explain-boot.ts";
import type { AuthExplainOptions } from "./options.ts";
import { selectBackend } from "./select-backend.ts";

/** `dstack auth explain`: 0 where allowed, 3 where denied. Changes nothing. */
export async function authExplain(cli: Cli, what: string, options: AuthExplainOptions): Promise<number> {
  const { json, print } = cli.out;
  const backend = await selectBackend(cli, options);
  const request = await requestFor(cli, what, options.auditLog);
  const explanation = await explainBoot(backend, request);
  if (options.output === "json") {
    const { isAllowed, reason, rule, field, value, basis, command, advice } = explanation;
    json({ allowed: isAllowed, reason, rule, field, value, basis, command: command ?? null, advice });
    return isAllowed ? 0 : 3;
  }
  const { boot, kind } = request;
  if (request.refused !== undefined)
    print(`refused     at ${visible(request.refused.time)}: ${visible(request.refused.reason)}`);
  print(
    `${kind === "kms" ? "KMS" : "app"}         ${visible(comparable(kind === "kms" ? boot.mrAggregated : boot.appId))}`,
  );
  print(`decided by  ${visible(explanation.basis)}`);
  if (explanation.isAllowed) {
    print("decision    allowed");
    return 0;
  }
  print(
    `decision    denied: ${visible(explanation.reason)}\nrule        ${visible(explanation.rule)}\nvalue       ${explanation.field} = ${visible(explanation.value)}`,
  );
  if (explanation.advice !== "") print(`next        ${visible(explanation.advice)}`);
  if (explanation.command !== undefined) print(`to allow    ${visible(explanation.command)}`);
  return 3;
}

async function requestFor(cli: Cli, what: string, auditLog: string | undefined): Promise<BootRequest> {
  const text = await readFile(what, "utf8").catch(() => undefined);
  if (text !== undefined) return parseBootRequest(text) ?? usage(`${what} is no boot request`);
  const digits = comparable(what).slice(2);
  const appId = /^[0-9a-f]{40}$/.test(digits) ? digits : await appNamed(cli, what);
  return lastRefusal(auditLog ?? `${cli.layout.kmsFolder}/audit.log`, appId);
}

async function appNamed(cli: Cli, name: string): Promise<string> {
  const client = await cli.vmm();
  const found = (await client.list()).find((vm) => vm.name === name && vm.status !== "removing");
  if (found === undefined)
    throw new CliError("not-found", `"${name}" is neither a file, an app id nor the name of an app here`);
  return found.appId;
}
