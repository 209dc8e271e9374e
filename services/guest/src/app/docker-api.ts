import { request } from "node:http";
import type { ContainerSummary } from "@dstack/agent";
import { GuestError } from "../errors.ts";

/** Docker's HTTP API on its Unix socket. */
export interface DockerApi {
  /** @throws GuestError `docker-failed` with Docker's own message */
  call(method: "GET" | "POST", path: string, timeoutMs?: number): Promise<unknown>;
}

const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

export function dockerApi(socketPath: string): DockerApi {
  return {
    call: (method, path, timeoutMs = 30_000) =>
      new Promise((resolve, reject) => {
        const fail = (cause: unknown): void => {
          clearTimeout(timer);
          outgoing.destroy();
          reject(
            cause instanceof GuestError
              ? cause
              : new GuestError("docker-failed", `Docker did not answer ${path.split("?")[0]}`, { cause }),
          );
        };
        const outgoing = request(
          { socketPath, method, path, headers: { host: "docker" }, agent: false },
          (response) => {
            const chunks: Buffer[] = [];
            let length = 0;
            response.on("data", (chunk: Buffer) => {
              length += chunk.length;
              if (length > MAX_ANSWER_BYTES) fail(new Error(`answer exceeds ${MAX_ANSWER_BYTES} bytes`));
              else chunks.push(chunk);
            });
            response.on("error", fail);
            response.on("end", () => {
              clearTimeout(timer);
              try {
                resolve(parseAnswer(response.statusCode ?? 0, Buffer.concat(chunks).toString("utf8")));
              } catch (error) {
                fail(error);
              }
            });
          },
        );
        const timer = setTimeout(() => fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
        outgoing.on("error", fail);
        outgoing.end();
      }),
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
    `Docker answered ${status}: ${typeof message === "string" ? message : text.slice(0, 300)}`,
  );
}
