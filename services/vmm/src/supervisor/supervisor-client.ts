/**
 * The other process that owns the VMs' processes. In: what to run, under which id. Out: what runs
 * and how it ended, checked as it comes over the Unix socket; a supervisor started where none
 * answers (supervisor-start.ts). Never: a QEMU as our own child, which would end with us.
 */
import { parseJson, utf8Decode } from "@dstack/bytes";
import { errorChain } from "@dstack/errors";
import { exchange, HttpError } from "@dstack/http";
import { z } from "zod";
import { VmmError } from "../errors.ts";

const infoSchema = z.object({
  config: z.object({
    id: z.string(),
    name: z.string().default(""),
    command: z.string(),
    args: z.array(z.string()).default([]),
    cid: z.number().nullish(),
    note: z.string().default(""),
    pidfile: z.string().default(""),
  }),
  state: z.object({
    status: z.union([
      z.literal("running"),
      z.literal("stopped"),
      z.object({ exited: z.number() }),
      z.object({ error: z.string() }),
    ]),
    started: z.boolean(),
    pid: z.number().nullish(),
    started_at: z.number().nullish(),
    stopped_at: z.number().nullish(),
  }),
});

export type SupervisedProcess = z.output<typeof infoSchema>;

export interface DeployRequest {
  readonly id: string;
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly pidfile: string;
  readonly cid: number;
  readonly note: string;
}

export interface SupervisorClient {
  ping(timeoutMs: number): Promise<boolean>;
  deploy(request: DeployRequest): Promise<void>;
  stop(id: string): Promise<void>;
  remove(id: string): Promise<void>;
  list(): Promise<SupervisedProcess[]>;
  info(id: string): Promise<SupervisedProcess | undefined>;
}

interface SupervisorCall<S> {
  readonly socketPath: string;
  readonly verb: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly schema: S;
  readonly body: unknown;
  readonly timeoutMs: number | undefined;
}

const CALL_TIMEOUT_MS = 20_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** Calls the supervisor on its Unix socket. @throws VmmError `supervisor-failed` with its text */
export function supervisorClient(socketPath: string): SupervisorClient {
  const ask = <S extends z.ZodType>(
    verb: "GET" | "POST" | "DELETE",
    path: string,
    schema: S,
    body?: unknown,
    timeoutMs?: number,
  ): Promise<z.output<S>> => call({ socketPath, verb, path, schema, body, timeoutMs });
  const nothing = z.null().optional();
  const named = (path: string, id: string): string => `${path}${encodeURIComponent(id)}`;
  return {
    ping: async (timeoutMs) => (await ask("GET", "/ping", z.string(), undefined, timeoutMs).catch(() => "")) === "pong",
    deploy: async (request) => void (await ask("POST", "/deploy", nothing, request)),
    stop: async (id) => void (await ask("POST", named("/stop/", id), nothing)),
    remove: async (id) => void (await ask("DELETE", named("/remove/", id), nothing)),
    list: () => ask("GET", "/list", z.array(infoSchema)),
    info: async (id) => (await ask("GET", named("/info/", id), infoSchema.nullable())) ?? undefined,
  };
}

/** Whether a process is a VM rather than a helper of one; a note that says nothing means VM. */
export function isVmNote(note: string): boolean {
  try {
    const { kind = "cvm", live_for: liveFor = null } = JSON.parse(note) as { kind?: unknown; live_for?: unknown };
    return kind === "cvm" && liveFor === null;
  } catch {
    return true; // Notes of the oldest supervisors are empty or free text.
  }
}

async function call<S extends z.ZodType>({ socketPath, schema, ...request }: SupervisorCall<S>): Promise<z.output<S>> {
  const failed = (cause: unknown): VmmError =>
    new VmmError("supervisor-failed", `supervisor at unix:${socketPath}: ${errorChain(cause)}`, {
      cause,
      // With a code of the system nobody listens there: the fleet starts another supervisor.
      ...(cause instanceof HttpError ? { facts: cause.facts } : {}),
    });
  try {
    const { verb, path, body, timeoutMs = CALL_TIMEOUT_MS } = request;
    const answer = await exchange({
      url: `http://supervisor${path}`,
      method: verb,
      socketPath,
      headers: { "content-type": "application/json" },
      body: body === undefined ? "" : JSON.stringify(body),
      timeoutMs,
      maxAnswerBytes: MAX_ANSWER_BYTES,
    });
    return readAnswer(utf8Decode(answer.body, "answer"), schema);
  } catch (cause) {
    throw cause instanceof VmmError ? cause : failed(cause);
  }
}

function readAnswer<S extends z.ZodType>(text: string, schema: S): z.output<S> {
  const { data, error } = z
    .object({ data: z.unknown().optional(), error: z.string().optional() })
    .parse(parseJson(text, "answer"));
  if (error !== undefined) throw new VmmError("supervisor-failed", error);
  return schema.parse(data);
}
