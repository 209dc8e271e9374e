import { parse } from "yaml";
import { BASE_DOMAIN, type StackLayout } from "./layout.ts";

/** `https://<app-id>[-<port>].<domain>:<proxy port>/`; port 80 needs no suffix. */
export function appUrl(layout: StackLayout, appId: string, port: number): string {
  return `https://${appId}${port === 80 ? "" : `-${port}`}.${BASE_DOMAIN}:${layout.ports.proxy}/`;
}

/** The ports that a compose file publishes on the VM over TCP, in order. */
export function publishedPorts(yamlText: string): readonly number[] {
  const document = parse(yamlText) as { services?: Record<string, { ports?: unknown[] } | null> } | null;
  const ports: number[] = [];
  for (const service of Object.values(document?.services ?? {})) {
    for (const entry of service?.ports ?? []) {
      const port = publishedPort(entry);
      if (port !== undefined && !ports.includes(port)) ports.push(port);
    }
  }
  return ports;
}

/** Short form `[ip:]published[-range]:target[/protocol]`, or the long form's `published`. */
function publishedPort(entry: unknown): number | undefined {
  if (typeof entry === "object" && entry !== null) {
    const { published, protocol } = entry as { published?: unknown; protocol?: unknown };
    return protocol === "udp" ? undefined : toPort(published);
  }
  const text = String(entry);
  if (text.endsWith("/udp")) return undefined;
  const parts = text.replace(/\/tcp$/, "").split(":");
  return parts.length < 2 ? undefined : toPort(parts.at(-2)?.split("-")[0]);
}

function toPort(value: unknown): number | undefined {
  const port = Number(value);
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined;
}
