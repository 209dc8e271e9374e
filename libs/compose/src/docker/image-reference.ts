/**
 * The one grammar of image names: `[registry/]path[:tag][@digest]`, as Docker reads them. `redis`
 * is `docker.io/library/redis:latest`.
 * Source: the reference grammar of the distribution project.
 */
import { ComposeError } from "../errors.ts";

export interface ImageReference {
  /** As written, without tag and digest. */
  readonly name: string;
  /** `docker.io` where the name has none. */
  readonly registry: string;
  /** Path inside the registry; `library/redis` for `redis`. */
  readonly path: string;
  /** `latest` where neither tag nor digest is written. */
  readonly tag: string | undefined;
  /** `sha256:` and 64 hex digits, `sha384:` and 96, or `sha512:` and 128. */
  readonly digest: string | undefined;
}

const DOCKER_HUB = "docker.io";
const REGISTRY = /^(?:\[[0-9a-fA-F:]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::[0-9]+)?$/;
const PATH = /^[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
/** The algorithms that Docker knows, each with its own length, in small letters. */
const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$/;
const MAX_LENGTH = 1024;

/** @throws ComposeError `image-invalid` */
export function parseImageReference(text: string): ImageReference {
  const [whole = "", digest, ...more] = text.split("@");
  const colon = whole.lastIndexOf(":");
  const hasTag = colon > whole.lastIndexOf("/");
  const name = hasTag ? whole.slice(0, colon) : whole;
  const tag = hasTag ? whole.slice(colon + 1) : digest === undefined ? "latest" : undefined;
  const [first = "", ...rest] = name.split("/");
  // Docker's rule: a first part with a dot, a colon or capitals, or `localhost`, is a registry.
  const hasRegistry = rest.length > 0 && (/[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase());
  const isHub = !hasRegistry || first === DOCKER_HUB || first === "index.docker.io";
  const written = hasRegistry ? rest.join("/") : name;
  const path = isHub && !written.includes("/") ? `library/${written}` : written;
  const isValid =
    text.length <= MAX_LENGTH &&
    more.length === 0 &&
    (!hasRegistry || REGISTRY.test(first)) &&
    PATH.test(path) &&
    (tag === undefined || TAG.test(tag));
  if (digest !== undefined && !DIGEST.test(digest))
    throw new ComposeError(
      "image-invalid",
      `${JSON.stringify(text.slice(0, 200))} has no digest that Docker takes: expected sha256: and 64 hex digits in small letters`,
    );
  if (!isValid)
    throw new ComposeError(
      "image-invalid",
      `${JSON.stringify(text.slice(0, 200))} is no name of an image: expected [registry/]path[:tag][@digest], path in small letters`,
    );
  return { name, registry: isHub ? DOCKER_HUB : first, path, tag, digest };
}

/** `...@sha256:<64 hex>` and the like: nobody can change what is meant. */
export const isPinnedImage = (image: string): boolean => DIGEST.test(/@([^@]*)$/.exec(image)?.[1] ?? "");
