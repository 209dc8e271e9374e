/**
 * Docker at the wire, with its state on a "disk" that outlives power cuts: containers, images and the files that decide
 * what would start again. Remembers under which version of the app every container was made and every start happened.
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join } from "node:path";

export interface FakeContainer {
  readonly id: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The version of the app that made it. */
  readonly madeBy: string;
  readonly policy: string;
  readonly stoppedByHand?: boolean;
  /** Ids of containers that must run for this one to start. */
  readonly needs?: string;
  state: string;
}

export interface FakeImage {
  readonly id: string;
  /** Id of an image made from this one. */
  readonly child?: string;
  readonly tags?: readonly string[];
  readonly digests?: readonly string[];
}

export class FakeDocker {
  readonly containers = new Map<string, FakeContainer>();
  readonly images = new Map<string, FakeImage>();
  /** `METHOD /path`, in order. */
  readonly asked: string[] = [];
  /** Every start of a container, with the version that was measured then. */
  readonly starts: { readonly name: string; readonly madeBy: string; readonly under: string }[] = [];
  /** How many more requests are answered before the power fails. */
  powerFor = Number.POSITIVE_INFINITY;
  /** What a request is answered with instead, once each. */
  readonly failures = new Map<string, number>();
  delayMs = 0;
  /** The version that runs now. */
  under = "";
  readonly #root: string;
  #server: Server | undefined;

  constructor(root: string) {
    this.#root = root;
  }

  async add(container: Omit<FakeContainer, "state" | "policy"> & Partial<FakeContainer>): Promise<void> {
    const made: FakeContainer = { policy: "no", state: "exited", ...container };
    this.containers.set(made.id, made);
    const folder = join(this.#root, "containers", made.id);
    await mkdir(folder, { recursive: true });
    await writeFile(
      join(folder, "config.v2.json"),
      JSON.stringify({
        HasBeenStartedBefore: made.state !== "created",
        HasBeenManuallyStopped: made.stoppedByHand === true,
        RestartCount: 0,
        State: { ExitCode: 255 },
      }),
    );
    await writeFile(join(folder, "hostconfig.json"), JSON.stringify({ RestartPolicy: { Name: made.policy } }));
  }

  async remove(id: string): Promise<void> {
    this.containers.delete(id);
    await rm(join(this.#root, "containers", id), { recursive: true, force: true });
  }

  start(id: string): boolean {
    const container = this.containers.get(id);
    if (container === undefined) return false;
    if (container.needs !== undefined && this.containers.get(container.needs)?.state !== "running") return false;
    container.state = "running";
    this.starts.push({ name: container.name, madeBy: container.madeBy, under: this.under });
    return true;
  }

  /** Comes up and starts nothing, as with `--restart=false`. */
  async listen(socketPath: string): Promise<void> {
    for (const container of this.containers.values()) if (container.state !== "created") container.state = "exited";
    const server = createServer((request, response) => {
      const what = `${request.method} ${decodeURIComponent(request.url ?? "")}`;
      if (this.powerFor-- <= 0) return void request.socket.destroy();
      this.asked.push(what);
      setTimeout(() => {
        void this.#answer(what).then(([status, body]) => {
          response.writeHead(status, { "content-type": "application/json" });
          response.end(body === undefined ? "" : JSON.stringify(body));
        });
      }, this.delayMs);
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  async #answer(what: string): Promise<[number, unknown]> {
    for (const [pattern, status] of this.failures) {
      if (!what.includes(pattern)) continue;
      this.failures.delete(pattern);
      return [status, { message: `made to fail: ${what}` }];
    }
    if (what === "GET /containers/json?all=true")
      return [
        200,
        [...this.containers.values()].map(({ id, name, labels, state }) => ({
          Id: id,
          Names: [`/${name}`],
          Labels: labels,
          State: state,
        })),
      ];
    if (what === "GET /images/json?all=true")
      return [
        200,
        [...this.images.values()].map(({ id, tags, digests }) => ({
          Id: id,
          RepoTags: tags ?? null,
          RepoDigests: digests ?? [],
        })),
      ];
    if (what === "POST /build/prune?all=true") return [200, {}];
    const [, removed] = /^DELETE \/containers\/(\w+)\?force=true$/.exec(what) ?? [];
    if (removed !== undefined) {
      if (!this.containers.has(removed)) return [404, { message: "No such container" }];
      await this.remove(removed);
      return [204, undefined];
    }
    const [, image = ""] = /^DELETE \/images\/([\w:]+)\?force=true$/.exec(what) ?? [];
    if (this.images.has(image)) {
      if (this.images.has(this.images.get(image)?.child ?? ""))
        return [409, { message: "image has dependent child images" }];
      this.images.delete(image);
      return [200, []];
    }
    const [, started] = /^POST \/containers\/(\w+)\/start$/.exec(what) ?? [];
    const container = this.containers.get(started ?? "");
    if (container === undefined) return [404, { message: "not found" }];
    if (container.state === "running") return [304, undefined];
    return this.start(container.id)
      ? [204, undefined]
      : [500, { message: "cannot join network of a non running container" }];
  }
}
