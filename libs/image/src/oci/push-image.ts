/**
 * Push to a registry by the OCI distribution protocol 1.1: blobs by one POST and one PUT
 * each, then the manifest under its tag. Blobs that are there already are not sent again.
 */
import { asRefusal, excerpt } from "@dstack/errors";
import { exchange, type HttpAnswer } from "@dstack/http";
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
/** Registries answer a push with headers, or a few words on why not. */
const MAX_ANSWER_BYTES = 64 * 1024;
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
  expectStatus(response, [201], `manifest ${repository}:${tag}`);
  const digest = digestOf(response) ?? image.digest;
  if (digest !== image.digest)
    throw new ImageError("registry", `the registry stored ${repository}:${tag} as ${digest}, expected ${image.digest}`);
  return { digest, reference: `${repository}@${digest}` };
}

async function pushBlob(options: PushOptions, blob: OciBlob): Promise<void> {
  const path = `/v2/${options.repository}/blobs`;
  const present = await request(options, "HEAD", `${path}/${blob.digest}`);
  if (present.status === 200) return;
  const started = await request(options, "POST", `${path}/uploads/`);
  expectStatus(started, [202], `upload to ${options.repository}`);
  const { location } = started.headers;
  if (location === undefined)
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
  expectStatus(finished, [201], `blob ${blob.digest}`);
}

function request(
  options: PushOptions,
  method: "HEAD" | "POST" | "PUT",
  path: string,
  body?: Uint8Array,
  contentType?: string,
): Promise<HttpAnswer> {
  return asRefusal(
    () =>
      exchange({
        url: new URL(path, options.registryUrl),
        method,
        body,
        ...(contentType === undefined ? {} : { headers: { "content-type": contentType } }),
        timeoutMs: options.timeoutMs ?? 60_000,
        maxAnswerBytes: MAX_ANSWER_BYTES,
        signal: options.signal,
      }),
    (cause) =>
      new ImageError("registry", `${method} ${path} at ${new URL(options.registryUrl).host} failed: ${cause.message}`, {
        cause,
      }),
  );
}

function expectStatus({ status, body }: HttpAnswer, expected: readonly number[], what: string): void {
  if (expected.includes(status)) return;
  throw new ImageError(
    "registry",
    `${what}: the registry answered ${status}, expected ${expected.join(" or ")}: ${excerpt(Buffer.from(body).toString("utf8"))}`,
  );
}

function digestOf({ headers }: HttpAnswer): string | undefined {
  const digest = headers["docker-content-digest"];
  return typeof digest === "string" ? digest : undefined;
}
