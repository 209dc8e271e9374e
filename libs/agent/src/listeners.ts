/**
 * The agent's doors: `dstack.sock` and `tappd.sock` for the app, one public listener for anybody.
 * In: an agent, a folder for the sockets, where the public listener goes.
 * Out: servers that answer with the bytes of the published clients, and can be closed.
 * Never: a method of the app on the public listener; a key, a quote for a stranger without a limit on how many at once.
 */
import { AGENT_PORT, VERSION_TEXT } from "@dstack/proto/wire";
import { mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { mount, startHttpServer, type HttpServer, type Listen } from "@dstack/rpc";
import { type Agent } from "./agent.ts";
import { publicRoutes } from "./public-routes.ts";
import { quoteGate } from "./quote-gate.ts";
import { dstackService } from "./services/dstack-service.ts";
import { tappdService } from "./services/tappd-service.ts";
import { workerService } from "./services/worker-service.ts";

const SERVER = "dstack guest agent";
const SOCKETS = ["dstack.sock", "tappd.sock"] as const;
/** Requests of strangers that may make quotes at one time. */
const PUBLIC_QUOTES = 4;

export interface ListenOptions {
  /** Where the sockets lie, and links to them under `dstack/`: `/run` in a guest, else any folder. */
  readonly folder: string;
  /** The agent's port of every address unless given; a Unix socket is as good. */
  readonly publicListen?: Listen;
}

export interface Listeners {
  /** Where the public one listens: `host:port`, or a socket's path. */
  readonly publicAddress: string;
  /** Its TCP port; 0 where it is a Unix socket. */
  readonly publicPort: number;
  close(): Promise<void>;
}

/**
 * Opens the app's sockets and the public listener, all of them or none. Needs no privilege but to
 * write into the folder.
 * @throws Error with the system's code when one cannot be bound
 */
export async function listen(agent: Agent, options: ListenOptions): Promise<Listeners> {
  const begun = await Promise.allSettled([
    ...SOCKETS.map((name) => listenForApp(agent, join(options.folder, name))),
    listenForAnybody(agent, options.publicListen ?? { host: "0.0.0.0", port: AGENT_PORT }),
  ]);
  const servers = begun.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const close = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.close()));
  };
  const failure = begun.find((result) => result.status === "rejected");
  if (failure !== undefined) {
    await close();
    throw failure.reason;
  }
  await linkSockets(options.folder);
  const open = servers.at(-1);
  return { publicAddress: open?.address ?? "", publicPort: open?.port ?? 0, close };
}

/** Old clients send legacy calls to the new socket and the other way round: both serve both. */
const listenForApp = (agent: Agent, path: string): Promise<HttpServer> =>
  startHttpServer({
    // Containers run as any user, and whoever reaches the socket is the app.
    listen: { path, mode: 0o777 },
    mounts: [mount("/prpc/", tappdService(agent)), mount("/", dstackService(agent))],
    headers: { server: SERVER },
    log: agent.log,
  });

function listenForAnybody(agent: Agent, where: Listen): Promise<HttpServer> {
  const gate = quoteGate(PUBLIC_QUOTES);
  return startHttpServer({
    listen: where,
    mounts: [mount("/prpc/", workerService(agent, gate))],
    routes: publicRoutes(agent, gate),
    headers: { "X-App-Version": VERSION_TEXT, server: SERVER },
    maxConnections: 256,
    log: agent.log,
  });
}

/** The same sockets under the folder where newer clients look first. */
async function linkSockets(folder: string): Promise<void> {
  const links = join(folder, "dstack");
  await mkdir(links, { recursive: true });
  for (const name of SOCKETS) {
    await rm(join(links, name), { force: true });
    await symlink(join("..", name), join(links, name));
  }
}
