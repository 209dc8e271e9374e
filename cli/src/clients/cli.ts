/**
 * Whom commands talk to, and the context in which they do.
 * In: the environment; addresses that a user named.
 * Out: one `Cli` a run; clients of VMM, KMS, gateway and registries, whose refusals say what to do next.
 * Never: a token in an address, an argument or a message, or a wait without an end.
 */
import { stackLayout, type StackLayout } from "../local/layout.ts";
import { standardOutput, type Output } from "../terminal/output.ts";
import { vmmClient, type VmmClient } from "./vmm-client.ts";

/** What every command works with; built once a run. A command is `(cli, ...arguments, options)`. */
export interface Cli {
  readonly env: NodeJS.ProcessEnv;
  /** Where the local deployment is, or would be. */
  readonly layout: StackLayout;
  readonly out: Output;
  /** The VMM that `env` names, or the local deployment's with the token it has now. */
  vmm(): Promise<VmmClient>;
  /** How the command ends where nothing was thrown: 3, for one, where a verdict is bad. */
  readonly exit: { code: number };
}

/** The context of a command that reads `env` and writes to `out`. Nothing is read or asked before it is needed. */
export function createCli(env: NodeJS.ProcessEnv, out: Output = standardOutput): Cli {
  const layout = stackLayout(env);
  return { env, layout, out, exit: { code: 0 }, vmm: () => vmmClient(layout, env) };
}
