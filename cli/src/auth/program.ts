/**
 * Who may boot: shown, changed, explained. The verbs are the same for a policy in a file and one in contracts.
 * In: a policy file or a chain's endpoint; hashes, or the files they are of; a boot that was refused.
 * Out: the policy and its history, a decision with its rule, a change shown before it is made.
 * Never: a key in an argument or an output, or a change of a policy that others keep.
 */
import type { Cli } from "../clients/cli.ts";
import type { Parent } from "../terminal/options.ts";
import {
  authAcceptCommand,
  authAllowCommand,
  authAnswerKeyCommand,
  authCommand,
  authConformanceCommand,
  authDenyCommand,
  authDeployCommand,
  authDiffCommand,
  authDisableUpgradesCommand,
  authExplainCommand,
  authHistoryCommand,
  authImportCommand,
  authRequireTcbCommand,
  authSetAppCodeCommand,
  authSetInfoCommand,
  authShowCommand,
  authTransferCommand,
  authUpgradeCommand,
} from "./options.ts";

export function addAuthCommands(program: Parent, cli: Cli): void {
  const auth = authCommand(program);
  auth.action(async (typed) => {
    const { oldNameFor } = await import("./old-names.ts");
    const row = typed === undefined ? undefined : oldNameFor(typed);
    if (row === undefined) return auth.help({ error: true });
    cli.out.print(`${row.old}  ->  ${row.ours}`);
  });
  addReading(auth, cli);
  addChanging(auth, cli);
  addContracts(auth, cli);
}

function addReading(auth: Parent, cli: Cli): void {
  authShowCommand(auth).action(async (options) => (await import("./show.ts")).authShow(cli, options));
  authExplainCommand(auth).action(async (request, options) => {
    cli.exit.code = await (await import("./explain.ts")).authExplain(cli, request, options);
  });
  authHistoryCommand(auth).action(async (options) => {
    cli.exit.code = await (await import("./history.ts")).authHistory(cli, options);
  });
  authConformanceCommand(auth).action(async (url, options) => {
    cli.exit.code = await (await import("./conformance.ts")).authConformance(cli, url, options);
  });
  authAnswerKeyCommand(auth).action(async (file, options) =>
    (await import("./answer-key.ts")).authAnswerKey(cli, file, options),
  );
}

function addChanging(auth: Parent, cli: Cli): void {
  const change = () => import("./change.ts");
  authAllowCommand(auth).action(async (kind, value, options) => (await change()).authAllow(cli, kind, value, options));
  authDenyCommand(auth).action(async (kind, value, options) => (await change()).authDeny(cli, kind, value, options));
  authImportCommand(auth).action(async (file, options) => (await import("./import.ts")).authImport(cli, file, options));
  authDiffCommand(auth).action(async (file, options) => {
    cli.exit.code = await (await import("./diff.ts")).authDiff(cli, file, options);
  });
}

function addContracts(auth: Parent, cli: Cli): void {
  const calls = () => import("./owner-calls.ts");
  authDeployCommand(auth).action(async (what, options) => (await import("./deploy.ts")).authDeploy(cli, what, options));
  authUpgradeCommand(auth).action(async (contract, code, options) =>
    (await import("./upgrade.ts")).authUpgrade(cli, contract, code, options),
  );
  authTransferCommand(auth).action(async (contract, to, options) =>
    (await calls()).authTransfer(cli, contract, to, options),
  );
  authAcceptCommand(auth).action(async (contract, options) => (await calls()).authAccept(cli, contract, options));
  authDisableUpgradesCommand(auth).action(async (app, options) =>
    (await calls()).authDisableUpgrades(cli, app, options),
  );
  authRequireTcbCommand(auth).action(async (app, wanted, options) =>
    (await calls()).authRequireTcb(cli, app, wanted, options),
  );
  authSetAppCodeCommand(auth).action(async (code, options) => (await calls()).authSetAppCode(cli, code, options));
  authSetInfoCommand(auth).action(async (file, options) =>
    (await import("./set-info.ts")).authSetInfo(cli, file, options),
  );
}
