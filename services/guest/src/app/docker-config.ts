import { parseJson } from "@dstack/bytes";
import { GuestError } from "../errors.ts";

/**
 * Docker's configuration with the mirror merged in. A mirror is the host's word and may serve
 * anything under a tag; only digests pin what runs (#616).
 * @throws GuestError `config-invalid`
 */
export function mergeDockerConfig(text: string | undefined, mirror: string | undefined): string {
  let config: unknown;
  try {
    config = text === undefined ? {} : parseJson(text);
  } catch (cause) {
    throw new GuestError("config-invalid", "Invalid daemon.json", { cause });
  }
  if (typeof config !== "object" || config === null || Array.isArray(config))
    throw new GuestError(
      "config-invalid",
      `Invalid daemon.json: expected an object, got ${Array.isArray(config) ? "a list" : config === null ? "null" : `a ${typeof config}`}`,
    );
  // Packet filter rules alone publish ports: a proxy process for each would do nothing but start slowly.
  const merged: Record<string, unknown> = { "userland-proxy": false, ...config, ipv6: false, ip6tables: false };
  if (mirror !== undefined) {
    const url = parseMirror(mirror);
    merged["registry-mirrors"] = [mirror];
    if (url.protocol === "http:") merged["insecure-registries"] = [url.host];
  }
  return JSON.stringify(merged);
}

function parseMirror(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol) || url.username !== "" || url.password !== "") {
    throw new GuestError(
      "config-invalid",
      `docker_registry ${JSON.stringify(text.slice(0, 120))}: expected an http or https URL without credentials`,
    );
  }
  return url;
}
