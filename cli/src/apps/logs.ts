import { CliError } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import type { Cli } from "../clients/cli.ts";
import type { LogsOptions } from "./options.ts";

/** `dstack logs APP`: the serial console on standard output, a refused boot's reason on standard error. */
export async function logs(cli: Cli, app: string, { follow, lines }: LogsOptions): Promise<void> {
  if (!/^\d{1,6}$/.test(lines)) throw new CliError("usage", `--lines ${lines}: expected a number`);
  const client = await cli.vmm();
  const vm = await client.find(app);
  const answer = await fetch(
    `${client.url}/logs?id=${encodeURIComponent(vm.id)}&follow=${follow === true}&ansi=false&lines=${lines}`,
    {
      headers: client.token === undefined ? {} : { authorization: `Bearer ${client.token}` },
    },
  );
  if (!answer.ok || answer.body === null)
    throw new CliError(
      "failed",
      `the VMM answered ${answer.status} for the log of ${app}: ${(await answer.text()).slice(0, 200)}`,
    );
  for await (const chunk of answer.body) process.stdout.write(chunk);
  if (vm.bootError !== "") cli.out.say(`\nboot refused: ${visible(vm.bootError)}`);
}
