import { Agent } from "node:http";
import { Agent as TlsAgent } from "node:https";

const IDLE_MS = 30_000;
const MAX_IDLE = 8;

/** Connections to one server, kept for a while: making one costs more than asking, and with TLS several times that. */
export function keptConnections(url: string): Agent {
  const options = { keepAlive: true, maxFreeSockets: MAX_IDLE, timeout: IDLE_MS };
  return url.startsWith("https:") ? new TlsAgent(options) : new Agent(options);
}
