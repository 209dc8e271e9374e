import { chosenLevel } from "./log-level.ts";
import { pino, type DestinationStream, type Logger as PinoLogger } from "pino";

export type Logger = PinoLogger;

export interface LoggerOptions {
  /** The part that speaks, e.g. `kms`. */
  readonly name: string;
  /** The environment, whose `DSTACK_LOG_LEVEL` (or `RUST_LOG`) wins over `level`. Absent: nothing wins. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** As the environment would say it: `debug`, `info,kms=debug`; `info` unless given. */
  readonly level?: string;
  /** Where lines go; standard error unless given, since standard output is for data. */
  readonly stream?: { write(text: string): unknown; readonly isTTY?: boolean };
}

/** Members that never reach a log, whatever object they hang on. */
const REDACTED = [
  "token",
  "*.token",
  "password",
  "*.password",
  "authorization",
  "*.authorization",
  "key",
  "*.key",
  "private_key",
  "*.private_key",
  "disk_crypt_key",
  "*.disk_crypt_key",
  "env_crypt_key",
  "*.env_crypt_key",
  "k256_key",
  "*.k256_key",
];

/** A logger for one process. Child loggers carry more fields: `log.child({vm: id})`. */
export function createLogger(options: LoggerOptions): Logger {
  const stream = options.stream ?? standardError();
  const text = stream.isTTY === true ? humanLine : (line: string): string => line;
  const destination: DestinationStream = {
    write: (line) => {
      try {
        stream.write(text(line));
      } catch {
        // A full disk: what cannot be told must not end what it tells of.
      }
    },
  };
  const level = chosenLevel(options.name, options.env ?? {}, options.level);
  return pino(
    {
      level: level === "off" ? "silent" : level,
      base: { name: options.name },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED, censor: "[redacted]" },
    },
    destination,
  );
}

/** Whoever read it may go away, as a collector of logs does that is started anew: without a handler the next line would end the process. */
function standardError(): NodeJS.WriteStream {
  const { stderr } = process;
  if (!stderr.listeners("error").includes(ignore)) stderr.on("error", ignore);
  return stderr;
}

const ignore = (): void => undefined;

function humanLine(line: string): string {
  const { time, level, name, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(rest)
    .map(([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join("");
  return `${String(time).slice(11, 19)} ${String(level).padEnd(5)} ${String(name)}: ${String(msg ?? "")}${fields}\n`;
}
