/**
 * Push to a registry by the OCI distribution protocol 1.1: blobs by one POST and one PUT
 * each, then the manifest under its tag. Blobs that are there already are not sent again.
 */
import { ImageError } from "../errors.ts";
import { MANIFEST_TYPE, type OciBlob, type OciImage } from "./oci-image.ts";

export interface PushOptions {
  /** Base address, e.g. `http://127.0.0.1:9307`. */
  readonly registryUrl: string;
  /** e.g. `dstack/hello`. */
  readonly repository: string;
  readonly tag: string;
  readonly image: OciImage;
  /** For each request; 60,000 unless given. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface PushedImage {
  /** `sha256:…` of the manifest, as the registry confirmed it. */
  readonly digest: string;
  /** `repository@digest`. */
  readonly reference: string;
}

const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/** @throws ImageError `registry` with the request that failed and what the registry said */
export async function pushImage(options: PushOptions): Promise<PushedImage> {
  const { repository, tag, image } = options;
  if (!REPOSITORY.test(repository))
    throw new ImageError(
      "registry",
      `"${repository}" is not a repository name (lower case, digits, separators and slashes)`,
    );
  if (!TAG.test(tag))
    throw new ImageError("registry", `"${tag}" is not a tag (letters, digits, dot, dash and underscore, at most 128)`);
  for (const blob of image.blobs) await pushBlob(options, blob);
  const response = await request(
    options,
    "PUT",
    `/v2/${repository}/manifests/${tag}`,
    image.manifest.bytes,
    MANIFEST_TYPE,
  );
  await expectStatus(response, [201], `manifest ${repository}:${tag}`);
  const digest = response.headers.get("docker-content-digest") ?? image.digest;
  if (digest !== image.digest)
    throw new ImageError("registry", `the registry stored ${repository}:${tag} as ${digest}, expected ${image.digest}`);
  return { digest, reference: `${repository}@${digest}` };
}

async function pushBlob(options: PushOptions, blob: OciBlob): Promise<void> {
  const path = `/v2/${options.repository}/blobs`;
  const present = await request(options, "HEAD", `${path}/${blob.digest}`);
  if (present.status === 200) return;
  const started = await request(options, "POST", `${path}/uploads/`);
  await expectStatus(started, [202], `upload to ${options.repository}`);
  const location = started.headers.get("location");
  if (location === null)
    throw new ImageError("registry", `upload to ${options.repository}: the registry gave no location`);
  const target = new URL(location, options.registryUrl);
  if (target.origin !== new URL(options.registryUrl).origin)
    throw new ImageError(
      "registry",
      `upload to ${options.repository}: the registry sends uploads to another origin, ${target.origin}`,
    );
  target.searchParams.set("digest", blob.digest);
  const finished = await request(
    options,
    "PUT",
    `${target.pathname}${target.search}`,
    blob.bytes,
    "application/octet-stream",
  );
  await expectStatus(finished, [201], `blob ${blob.digest}`);
}

async function request(
  options: PushOptions,
  method: string,
  path: string,
  body?: Uint8Array,
  contentType?: string,
): Promise<Response> {
  const timeout = AbortSignal.timeout(options.timeoutMs ?? 60_000);
  try {
    return await fetch(new URL(path, options.registryUrl), {
      method,
      redirect: "error",
      signal: options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]),
      ...(body === undefined ? {} : { body: Buffer.from(body) }),
      ...(contentType === undefined ? {} : { headers: { "content-type": contentType } }),
    });
  } catch (cause) {
    const why =
      cause instanceof Error ? (cause.cause instanceof Error ? cause.cause.message : cause.message) : String(cause);
    throw new ImageError("registry", `${method} ${path} at ${new URL(options.registryUrl).host} failed: ${why}`, {
      cause,
    });
  }
}

async function expectStatus(response: Response, expected: readonly number[], what: string): Promise<void> {
  if (expected.includes(response.status)) {
    await response.body?.cancel();
    return;
  }
  const text = (await response.text()).slice(0, 300);
  throw new ImageError(
    "registry",
    `${what}: the registry answered ${response.status}, expected ${expected.join(" or ")}: ${text}`,
  );
}
