import type { ContainerSummary } from "@dstack/agent";
import { excerpt } from "@dstack/errors";
import { exchange } from "@dstack/http";
import { GuestError } from "../errors.ts";

/** Docker's HTTP API on its Unix socket. */
export interface DockerApi {
  /** @throws GuestError `docker-failed` with Docker's own message */
  call(method: "GET" | "POST", path: string, timeoutMs?: number): Promise<unknown>;
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

/** All containers, stopped ones too. @throws GuestError `docker-failed` */
export async function listContainers(docker: DockerApi): Promise<readonly ContainerSummary[]> {
  const answer = await docker.call("GET", "/containers/json?all=true");
  if (!Array.isArray(answer)) throw new GuestError("docker-failed", "Docker's list of containers is no list");
  return answer.map((item: unknown) => {
    const container = (item ?? {}) as Record<string, unknown>;
    const text = (name: string): string => (typeof container[name] === "string" ? container[name] : "");
    return {
      id: text("Id"),
      names: Array.isArray(container["Names"]) ? container["Names"].map(String) : [],
      image: text("Image"),
      imageId: text("ImageID"),
      created: typeof container["Created"] === "number" ? container["Created"] : 0,
      state: text("State"),
      status: text("Status"),
    };
  });
}

function parseAnswer(status: number, text: string): unknown {
  const json =
    text.trimStart().startsWith("{") || text.trimStart().startsWith("[") ? (JSON.parse(text) as unknown) : text;
  if (status >= 200 && status < 300) return json;
  const message = (json as { message?: unknown } | null)?.message;
  throw new GuestError(
    "docker-failed",
    `Docker answered ${status}: ${typeof message === "string" ? message : excerpt(text)}`,
  );
}
