import type { ServerResponse } from "node:http";
import { stat } from "node:fs/promises";
import type { HttpExchange } from "@dstack/rpc";
import type { Fleet } from "../fleet/fleet.ts";
import { ansiStripper, readLog } from "../logs/log-reader.ts";
import { isVmId } from "../vm/manifest.ts";
import type { VmFolder } from "../vm/vm-folder.ts";
import { answerText } from "./answer.ts";

const DEFAULT_LINES = 10_000;

/** A VM's log as text: its last lines, then, with `follow`, what comes. Query: id, follow, ansi, lines, ch. */
export async function sendLog({ request, response, url }: HttpExchange, fleet: Pick<Fleet, "find">): Promise<void> {
  const query = readQuery(url.searchParams);
  if (query === undefined) {
    answerText(response, 400, "expected id, and follow, ansi, lines and ch with values that can be read\n");
    return;
  }
  const vm = isVmId(query.id) ? fleet.find(query.id) : undefined;
  if (vm === undefined) {
    answerText(response, 404, "VM not found");
    return;
  }
  const path = pathOf(vm.folder, query.channel);
  if (path === undefined) {
    answerText(response, 400, `Unknown channel ${query.channel.slice(0, 40)}`);
    return;
  }
  response.writeHead(200, {
    "content-type": "text/plain; charset=utf-8",
    "x-content-type-options": "nosniff",
    "x-accel-buffering": "no",
    "cache-control": "no-store",
  });
  response.flushHeaders();
  if (!query.follow && (await stat(path).catch(() => undefined)) === undefined) {
    response.end(`the ${query.channel} log of this VM does not exist yet\n`);
    return;
  }
  const gone = new AbortController();
  request.once("close", () => gone.abort());
  response.once("close", () => gone.abort());
  await stream(response, path, query, gone.signal);
}

interface LogQuery {
  readonly id: string;
  readonly follow: boolean;
  readonly ansi: boolean;
  readonly lines: number;
  readonly channel: string;
}

function readQuery(query: URLSearchParams): LogQuery | undefined {
  const id = query.get("id");
  const follow = flag(query.get("follow"));
  const ansi = flag(query.get("ansi"));
  const lines = query.get("lines") === null ? DEFAULT_LINES : Number(query.get("lines"));
  if (id === null || follow === undefined || ansi === undefined || !Number.isSafeInteger(lines) || lines < 0)
    return undefined;
  return { id, follow, ansi, lines, channel: query.get("ch") ?? "serial" };
}

const pathOf = ({ file }: VmFolder, channel: string): string | undefined =>
  new Map([
    ["serial", file.serialLog],
    ["stdout", file.stdoutLog],
    ["stderr", file.stderrLog],
  ]).get(channel);

async function stream(response: ServerResponse, path: string, query: LogQuery, signal: AbortSignal): Promise<void> {
  const plain = query.ansi ? { next: (text: string) => text, end: () => "" } : ansiStripper();
  for await (const text of readLog(path, { lines: query.lines, follow: query.follow, signal })) {
    if (signal.aborted) break;
    if (!response.write(plain.next(text))) await drained(response, signal);
  }
  response.end(plain.end());
}

function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    response.once("drain", done);
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
  });
}

/** Absent is false, empty is true; undefined for a value that is neither. */
function flag(value: string | null): boolean | undefined {
  if (value === null) return false;
  if (["true", "on", "yes", "1", ""].includes(value)) return true;
  return ["false", "off", "no", "0"].includes(value) ? false : undefined;
}
