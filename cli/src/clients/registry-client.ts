import { parseJson, utf8Decode } from "@dstack/bytes";
import type { DigestResolver, ImageReference } from "@dstack/compose/docker";
import { attempt } from "@dstack/errors";
import { exchangeFollowing } from "@dstack/http";

/** A manifest comes without a body, a token is a few kilobytes. */
const MAX_ANSWER_BYTES = 256 * 1024;
const MANIFEST_TYPES = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

const DOCKER_HUB_API = "registry-1.docker.io";

/**
 * Looks up the digest that an image's tag stands for today: first in the loopback registry, which stands in for
 * Docker Hub as the guests' mirror, then in the registry that the name says, anonymously.
 */
export function imageDigests(loopbackRegistry: string | undefined, timeoutMs = 10_000): DigestResolver {
  return async (image: ImageReference) => {
    const { registry, path, tag = "latest", digest } = image;
    // A digest stands for itself.
    if (digest !== undefined) return digest;
    const isHub = registry === "docker.io";
    // Guests ask their mirror by the same path.
    const local =
      loopbackRegistry === undefined || !isHub
        ? undefined
        : await headManifest(`${loopbackRegistry}/v2/${path}/manifests/${tag}`, timeoutMs);
    return local ?? headManifest(`https://${isHub ? DOCKER_HUB_API : registry}/v2/${path}/manifests/${tag}`, timeoutMs);
  };
}

async function headManifest(url: string, timeoutMs: number, token?: string): Promise<string | undefined> {
  const asked = await attempt(() =>
    exchangeFollowing({
      url,
      method: "HEAD",
      headers: { accept: MANIFEST_TYPES, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      timeoutMs,
      maxAnswerBytes: MAX_ANSWER_BYTES,
    }),
  );
  // Unreachable counts as "does not have it": the caller says which image could not be resolved.
  if (!asked.ok) return undefined;
  const { status, headers } = asked.value;
  if (status === 401 && token === undefined) {
    const anonymous = await anonymousToken(headers["www-authenticate"] ?? "", timeoutMs);
    return anonymous === undefined ? undefined : headManifest(url, timeoutMs, anonymous);
  }
  const digest = headers["docker-content-digest"];
  return status >= 200 && status < 300 && typeof digest === "string" && /^sha256:[0-9a-f]{64}$/.test(digest)
    ? digest
    : undefined;
}

/** The token flow of the distribution specification, for public images. */
async function anonymousToken(challenge: string, timeoutMs: number): Promise<string | undefined> {
  const values = Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map((match) => [match[1] ?? "", match[2] ?? ""]),
  );
  const url = URL.parse(values["realm"] ?? "");
  if (url?.protocol !== "https:") return undefined;
  if (values["service"] !== undefined) url.searchParams.set("service", values["service"]);
  if (values["scope"] !== undefined) url.searchParams.set("scope", values["scope"]);
  const asked = await attempt(() => exchangeFollowing({ url, timeoutMs, maxAnswerBytes: MAX_ANSWER_BYTES }));
  return asked.ok ? tokenOf(asked.value.body) : undefined;
}

function tokenOf(answer: Uint8Array): string | undefined {
  try {
    const { token, access_token: accessToken } = parseJson(utf8Decode(answer)) as {
      token?: unknown;
      access_token?: unknown;
    };
    return [token, accessToken].find((value) => typeof value === "string");
  } catch {
    return undefined; // No JSON: this registry gives anonymous callers nothing.
  }
}
