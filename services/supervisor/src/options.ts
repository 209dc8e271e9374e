import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { loadConfig, parseListen, silent, told, warnOf } from "@dstack/config";
import { asRefusal } from "@dstack/errors";
import type { Logger } from "@dstack/log";
import { SupervisorError } from "./errors.ts";

export interface SupervisorOptions {
  readonly socketPath: string;
  readonly pidFile: string | undefined;
  readonly logFile: string | undefined;
  readonly detach: boolean;
}

const schema = z.object({
  default: z.object({ address: z.string().default("unix:/var/run/supervisor.sock") }).prefault({}),
});
/** The reference's, of its HTTP server; `port` counts for nothing beside a Unix socket. */
const UNREAD = [
  told("default.log_level", z.string(), ["debug", "info"], "DSTACK_LOG_LEVEL alone sets the level of the log"),
  ...(
    [
      ["reuse", z.boolean()],
      ["workers", z.int()],
      ["ident", z.string()],
      ["port", z.int()],
      ["shutdown", z.record(z.string(), z.unknown())],
    ] as const
  ).map(([key, type]) => silent(`default.${key}`, type, "one Unix socket is served")),
];

const USAGE = `Usage: supervisor [options]
  -u, --uds PATH          Unix socket to serve on
  -a, --address ADDRESS   the same as unix:PATH
      --pid-file PATH     where to write our process id
      --log-file PATH     where to append our log instead of standard error
  -d, --detach            go on in the background
  -c, --config FILE       configuration, tables below [default]
      --remove-existing-uds  accepted; a stale socket is always replaced, a served one never
`;

/** @throws SupervisorError `unusable-option`, ConfigError */
export async function readOptions(args: readonly string[], log: Logger): Promise<SupervisorOptions> {
  const { values } = parse(args);
  const loaded = await loadConfig({ name: "supervisor", file: values.config, schema, unread: UNREAD });
  warnOf(log, loaded);
  const { config } = loaded;
  const address = values.uds === undefined ? (values.address ?? config.default.address) : `unix:${values.uds}`;
  const listening = asRefusal(
    () => parseListen(address, 0),
    (cause) => new SupervisorError("unusable-option", `address ${cause.message}`, { cause }),
  );
  if (!("path" in listening) || values.port !== undefined) {
    throw new SupervisorError(
      "unusable-option",
      `address ${address}: whoever can call us can run programs, so only a Unix socket is served; use --uds PATH`,
    );
  }
  const path = (name: "pid-file" | "log-file"): string | undefined => {
    if (values[name] === "") throw new SupervisorError("unusable-option", `--${name}: the path is empty`);
    return values[name] === undefined ? undefined : resolve(values[name]);
  };
  return {
    socketPath: resolve(listening.path),
    pidFile: path("pid-file"),
    logFile: path("log-file"),
    detach: values.detach ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        config: { type: "string", short: "c" },
        address: { type: "string", short: "a" },
        port: { type: "string", short: "p" },
        uds: { type: "string", short: "u" },
        "remove-existing-uds": { type: "boolean" },
        detach: { type: "boolean", short: "d" },
        "pid-file": { type: "string" },
        "log-file": { type: "string" },
      },
    });
  } catch (cause) {
    throw new SupervisorError("unusable-option", `${(cause as Error).message}\n${USAGE}`, { cause });
  }
}
