import type { DigestResolver, ImageReference } from "@dstack/compose/docker";

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
    const { registry, path, tag = "latest" } = image;
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
  try {
    const answer = await fetch(url, {
      method: "HEAD",
      headers: { accept: MANIFEST_TYPES, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      signal: AbortSignal.timeout(timeoutMs),
    });
    if (answer.status === 401 && token === undefined) {
      const anonymous = await anonymousToken(answer.headers.get("www-authenticate") ?? "", timeoutMs);
      return anonymous === undefined ? undefined : await headManifest(url, timeoutMs, anonymous);
    }
    const digest = answer.headers.get("docker-content-digest");
    return answer.ok && digest !== null && /^sha256:[0-9a-f]{64}$/.test(digest) ? digest : undefined;
  } catch {
    // Unreachable counts as "does not have it": the caller says which image could not be resolved.
    return undefined;
  }
}

/** The token flow of the distribution specification, for public images. */
async function anonymousToken(challenge: string, timeoutMs: number): Promise<string | undefined> {
  const values = Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map((match) => [match[1] ?? "", match[2] ?? ""]),
  );
  const realm = values["realm"];
  if (realm === undefined || !realm.startsWith("https://")) return undefined;
  const url = new URL(realm);
  if (values["service"] !== undefined) url.searchParams.set("service", values["service"]);
  if (values["scope"] !== undefined) url.searchParams.set("scope", values["scope"]);
  const answer = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) });
  const body = (await answer.json()) as { token?: string; access_token?: string };
  return body.token ?? body.access_token;
}
