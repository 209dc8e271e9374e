import type { ContainerSummary } from "@dstack/agent";
import { excerpt } from "@dstack/errors";
import { exchange } from "@dstack/http";
import { GuestError } from "../errors.ts";

/** Docker's HTTP API on its Unix socket. */
export interface DockerApi {
  /** @throws GuestError `docker-failed` with Docker's own message */
  call(method: "GET" | "POST" | "DELETE", path: string, timeoutMs?: number): Promise<unknown>;
}

const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

export function dockerApi(socketPath: string): DockerApi {
  return {
    call: async (method, path, timeoutMs = 30_000) => {
      try {
        const answer = await exchange({
          url: `http://docker${path}`,
          method,
          socketPath,
          timeoutMs,
          maxAnswerBytes: MAX_ANSWER_BYTES,
        });
        return parseAnswer(answer.status, Buffer.from(answer.body).toString("utf8"));
      } catch (cause) {
        if (cause instanceof GuestError) throw cause;
        throw new GuestError("docker-failed", `Docker did not answer ${path.split("?")[0]}`, { cause });
      }
    },
  };
}

export interface Container extends ContainerSummary {
  readonly labels: Readonly<Record<string, unknown>>;
}

/** All containers, stopped ones too. @throws GuestError `docker-failed` */
export async function listContainers(docker: DockerApi): Promise<readonly Container[]> {
  return (await listOf(docker, "/containers/json?all=true")).map((container) => {
    const text = (name: string): string => (typeof container[name] === "string" ? container[name] : "");
    return {
      id: text("Id"),
      names: Array.isArray(container["Names"]) ? container["Names"].map(String) : [],
      image: text("Image"),
      imageId: text("ImageID"),
      created: typeof container["Created"] === "number" ? container["Created"] : 0,
      state: text("State"),
      status: text("Status"),
      labels: (container["Labels"] ?? {}) as Record<string, unknown>,
    };
  });
}

/** What Docker lists at a path. @throws GuestError `docker-failed` */
export async function listOf(docker: DockerApi, path: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const answer = await docker.call("GET", path);
  if (!Array.isArray(answer))
    throw new GuestError("docker-failed", `Docker's answer to ${path.split("?")[0]} is no list`);
  return answer.map((item: unknown) => (item ?? {}) as Record<string, unknown>);
}

function parseAnswer(status: number, text: string): unknown {
  const json =
    text.trimStart().startsWith("{") || text.trimStart().startsWith("[") ? (JSON.parse(text) as unknown) : text;
  // 304: it is so already.
  if ((status >= 200 && status < 300) || status === 304) return json;
  const message = (json as { message?: unknown } | null)?.message;
  throw new GuestError(
    "docker-failed",
    `Docker answered ${status}: ${typeof message === "string" ? message : excerpt(text)}`,
  );
}
