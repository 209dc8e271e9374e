import { isPinnedImage, listImages, replaceImages } from "@dstack/compose";
import { CliError } from "../terminal/errors.ts";

export interface ResolvedReference {
  readonly from: string;
  readonly to: string;
}

/** Asks a registry for the digest of a tag; undefined when it does not have it. */
export type DigestLookup = (repository: string, tag: string) => Promise<string | undefined>;

/**
 * Replaces every mutable image tag of a compose file by the digest it stands for today, so that
 * the measured bytes name the software itself (audit 07). All other bytes stay as they are.
 * @throws CliError for a tag that no registry resolves
 */
export async function pinImages(
  yamlText: string,
  lookup: DigestLookup,
  allowMutable: boolean,
): Promise<{ text: string; resolved: readonly ResolvedReference[] }> {
  const resolved: ResolvedReference[] = [];
  for (const image of listImages(yamlText)) {
    if (isPinnedImage(image)) continue;
    const { repository, tag } = splitReference(image);
    const digest = await lookup(repository, tag);
    if (digest !== undefined) {
      resolved.push({ from: image, to: `${repository}@${digest}` });
    } else if (!allowMutable) {
      throw new CliError("failed", `image ${image} cannot be resolved to a digest`, {
        hint: "check the name and the network, pin it as name@sha256:…, or pass --allow-mutable to run whatever the tag points to later",
      });
    }
  }
  return { text: replaceImages(yamlText, new Map(resolved.map(({ from, to }) => [from, to]))), resolved };
}

/** `repo[:tag]` with the tag's default; a port in the registry's name is not a tag. */
export function splitReference(reference: string): { repository: string; tag: string } {
  const colon = reference.lastIndexOf(":");
  const slash = reference.lastIndexOf("/");
  return colon > slash
    ? { repository: reference.slice(0, colon), tag: reference.slice(colon + 1) }
    : { repository: reference, tag: "latest" };
}
