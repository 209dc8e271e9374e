import { parseJson } from "@dstack/bytes";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { readTextIfExists } from "@dstack/files";
import { exchange } from "@dstack/http";
import { vmm } from "@dstack/proto";
import { callRpc, httpTransport, RpcError } from "@dstack/rpc";
import { z } from "zod";
import { CliError } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import type { StackLayout } from "../local/layout.ts";

type VmmMethods = typeof vmm.Vmm.method;

const CALL_TIMEOUT_MS = 60_000;
const MAX_ANSWER_BYTES = 64 * 1024;
const HASH = z.string().regex(/^[0-9a-f]{64}$/);
const PREVIOUS_VERSION = z.object({ compose_hash: HASH, saved_at: z.string() });
const ROLLED_BACK = z.object({ compose_hash: HASH });

export interface VmmClient {
  readonly url: string;
  readonly token: string | undefined;
  /** Whether it is the local deployment's: the only one whose instances the local policy can be held against. */
  readonly isLocal: boolean;
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>>;
  /** The one CVM of that name or id. @throws CliError `not-found` */
  find(nameOrId: string): Promise<vmm.VmInfo>;
  list(): Promise<readonly vmm.VmInfo[]>;
  /** The version that an update of this VM replaced, kept by the VMM; undefined where there is none. */
  previousVersion(id: string): Promise<PreviousVersion | undefined>;
  /** Exchanges it with the present one: compose file, environment and machine. Gives its compose hash, hex. */
  rollBack(id: string): Promise<string>;
}

export interface PreviousVersion {
  /** Hex. */
  readonly composeHash: string;
  /** ISO 8601. */
  readonly savedAt: string;
}

export const vmmMethods: VmmMethods = vmm.Vmm.method;

/** A client of the VMM at $DSTACK_VMM_URL with $DSTACK_VMM_TOKEN, or of the local deployment. */
export async function vmmClient(layout: StackLayout, env: NodeJS.ProcessEnv): Promise<VmmClient> {
  const local = `http://127.0.0.1:${layout.ports.vmm}`;
  const url = env["DSTACK_VMM_URL"] ?? local;
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? ""))
    throw new CliError("usage", `DSTACK_VMM_URL=${url.slice(0, 80)}: expected an http or https URL`);
  const token = env["DSTACK_VMM_TOKEN"] ?? (await readTextIfExists(layout.vmmToken))?.trim();
  const transport = httpTransport({
    baseUrl: `${url}/prpc`,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
  const call: VmmClient["call"] = async (method, request) => {
    try {
      return await callRpc(transport, method, request);
    } catch (error) {
      if (error instanceof RpcError && error.code === "transport-failed") throw noAnswer(url, error);
      throw error;
    }
  };
  /** A route beside RPC. The answer's text; undefined for "not found". */
  const ask = async (method: "GET" | "POST", path: string, id: string): Promise<string | undefined> => {
    const answer = await exchange({
      url: `${url}${path}?id=${encodeURIComponent(id)}`,
      method,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      timeoutMs: CALL_TIMEOUT_MS,
      maxAnswerBytes: MAX_ANSWER_BYTES,
    }).catch((cause: unknown) => {
      throw noAnswer(url, cause);
    });
    const text = new TextDecoder().decode(answer.body);
    if (answer.status === 404) return undefined;
    if (answer.status !== 200)
      throw new CliError("failed", `the VMM answered ${answer.status} to ${path}: ${visible(text.slice(0, 400))}`);
    return text;
  };
  const list = async (): Promise<readonly vmm.VmInfo[]> => (await call(vmmMethods.status, {})).vms;
  return {
    url,
    token,
    isLocal: url === local,
    call,
    list,
    previousVersion: async (id) => {
      const text = await ask("GET", "/previous-version", id);
      if (text === undefined) return undefined;
      const { compose_hash: composeHash, saved_at: savedAt } = answerOf(PREVIOUS_VERSION, text);
      return { composeHash, savedAt };
    },
    rollBack: async (id) => {
      const text = await ask("POST", "/rollback", id);
      if (text === undefined)
        throw new CliError("not-found", `the VMM keeps no earlier version of VM ${id}`, {
          hint: "deploy its compose file again",
        });
      return answerOf(ROLLED_BACK, text).compose_hash;
    },
    find: async (nameOrId) => {
      const all = await list();
      const found = all.filter(
        (vm) =>
          vm.id === nameOrId ||
          // What is being removed has given its name up to whatever comes next.
          (vm.status !== "removing" &&
            (vm.name === nameOrId || vm.appId === nameOrId || (nameOrId.length >= 6 && vm.id.startsWith(nameOrId)))),
      );
      if (found.length === 1 && found[0] !== undefined) return found[0];
      if (found.length > 1)
        throw new CliError(
          "usage",
          `${nameOrId} names ${found.length} apps; use the VM id: ${found.map((vm) => vm.id).join(", ")}`,
        );
      throw new CliError("not-found", `no app is named ${nameOrId}`, { hint: "`dstack apps` lists them" });
    },
  };
}

const noAnswer = (url: string, cause: unknown): CliError =>
  new CliError("failed", `the VMM at ${url} does not answer`, {
    cause,
    hint: "start the local deployment with `dstack up`, or set DSTACK_VMM_URL",
  });

function answerOf<T>(schema: z.ZodType<T>, text: string): T {
  try {
    return schema.parse(parseJson(text, "answer"));
  } catch (cause) {
    throw new CliError("failed", `the VMM's answer has another form than expected: ${visible(text.slice(0, 200))}`, {
      cause,
    });
  }
}
