import { once } from "node:events";
import { streamedFetch } from "@dstack/http";
import { CliError } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import type { Cli } from "../clients/cli.ts";
import type { LogsOptions } from "./options.ts";

const CONNECT_TIMEOUT_MS = 30_000;

/** `dstack logs APP`: the serial console on standard output, a refused boot's reason on standard error. */
export async function logs(cli: Cli, app: string, { follow, lines }: LogsOptions): Promise<void> {
  if (!/^\d{1,6}$/.test(lines)) throw new CliError("usage", `--lines ${lines}: expected a number`);
  const client = await cli.vmm();
  const vm = await client.find(app);
  // A followed log has no end, so the deadline is for its beginning.
  const connecting = new AbortController();
  const deadline = setTimeout(() => connecting.abort(new Error("no answer in time")), CONNECT_TIMEOUT_MS);
  const answer = await streamedFetch(
    `${client.url}/logs?id=${encodeURIComponent(vm.id)}&follow=${follow === true}&ansi=false&lines=${lines}`,
    {
      headers: client.token === undefined ? {} : { authorization: `Bearer ${client.token}` },
      signal: connecting.signal,
    },
  )
    .catch((cause: unknown) => {
      throw new CliError("failed", `the VMM did not answer for the log of ${app}`, { cause });
    })
    .finally(() => clearTimeout(deadline));
  if (!answer.ok || answer.body === null)
    throw new CliError(
      "failed",
      `the VMM answered ${answer.status} for the log of ${app}: ${(await answer.text()).slice(0, 200)}`,
    );
  for await (const chunk of answer.body) if (!process.stdout.write(chunk)) await once(process.stdout, "drain");
  if (vm.bootError !== "") cli.out.say(`\nboot refused: ${visible(vm.bootError)}`);
}
