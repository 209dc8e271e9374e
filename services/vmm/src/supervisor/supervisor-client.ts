/**
 * The other process that owns the VMs' processes. In: what to run, under which id. Out: what runs
 * and how it ended, checked as it comes over the Unix socket; a supervisor started where none
 * answers (supervisor-start.ts). Never: a QEMU as our own child, which would end with us.
 */
import { request } from "node:http";
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

const CALL_TIMEOUT_MS = 20_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** Calls the supervisor on its Unix socket. @throws VmmError `supervisor-failed` with its text */
export function supervisorClient(socketPath: string): SupervisorClient {
  const ask = <S extends z.ZodType>(
    verb: string,
    path: string,
    schema: S,
    body?: unknown,
    timeoutMs = CALL_TIMEOUT_MS,
  ): Promise<z.output<S>> => call(socketPath, verb, path, schema, body, timeoutMs);
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

function call<S extends z.ZodType>(
  socketPath: string,
  verb: string,
  path: string,
  schema: S,
  body: unknown,
  timeoutMs: number,
): Promise<z.output<S>> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void => {
      clearTimeout(timer);
      outgoing.destroy();
      reject(
        cause instanceof VmmError
          ? cause
          : new VmmError(
              "supervisor-failed",
              `supervisor at unix:${socketPath}: ${cause instanceof Error ? cause.message : String(cause)}`,
              { cause },
            ),
      );
    };
    const text = body === undefined ? "" : JSON.stringify(body);
    const outgoing = request({
      socketPath,
      method: verb,
      path,
      agent: false,
      headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text) },
    });
    const timer = setTimeout(() => fail(new Error(`no answer to ${verb} ${path} within ${timeoutMs} ms`)), timeoutMs);
    outgoing.once("error", fail);
    outgoing.once("response", (response) => {
      let answer = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        answer += chunk;
        if (answer.length > MAX_ANSWER_BYTES) fail(new Error("the answer is too long"));
      });
      response.once("error", fail);
      response.once("end", () => {
        clearTimeout(timer);
        try {
          resolve(readAnswer(answer, schema));
        } catch (error) {
          fail(error);
        }
      });
    });
    outgoing.end(text);
  });
}

function readAnswer<S extends z.ZodType>(text: string, schema: S): z.output<S> {
  const { data, error } = z
    .object({ data: z.unknown().optional(), error: z.string().optional() })
    .parse(JSON.parse(text));
  if (error !== undefined) throw new VmmError("supervisor-failed", error);
  return schema.parse(data);
}
