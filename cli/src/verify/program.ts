/**
 * Checks of evidence, from a running app to a single file.
 * In: an app, a KMS or a gateway by URL, or what was fetched of one earlier; what to trust, and what to expect.
 * Out: a verdict with every check and its reason; a bundle that the same is judged by later, offline.
 * Never: what nothing binds is called verified, or a check that could not be made counts as passed.
 */
import type { Cli } from "../clients/cli.ts";
import type { Parent } from "../terminal/options.ts";
import { verifyCommand, verifyGatewayCommand, verifyKmsCommand, verifyQuoteCommand } from "./options.ts";

export function addVerifyCommands(program: Parent, cli: Cli): void {
  const verify = verifyCommand(program);
  verify.action(async (what, options) => {
    if (what === undefined) return verify.help({ error: true });
    cli.exit.code = await (await import("./verify.ts")).verify(cli, what, options);
  });
  verifyKmsCommand(verify).action(async (url, options) => {
    cli.exit.code = await (await import("./verify.ts")).verifyKms(cli, url, options);
  });
  verifyGatewayCommand(verify).action(async (url, options) => {
    cli.exit.code = await (await import("./verify.ts")).verifyGateway(cli, url, options);
  });
  verifyQuoteCommand(verify).action(async (options) => {
    cli.exit.code = await (await import("./quote.ts")).verifyQuote(cli, options);
  });
}
