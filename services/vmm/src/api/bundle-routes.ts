import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { listImages } from "@dstack/image";
import type { HttpExchange } from "@dstack/rpc";
import { answerText } from "./answer.ts";

/** Image bundles by the hash of what they measure to. They are no secret and carry their own hash. */
export const OS_IMAGES_PATH = "/os-images/";

/** Streams `mr_<hash>.tar.gz`; 404 for any other name. */
export async function sendBundle({ request, response, url }: HttpExchange, imagePath: string): Promise<void> {
  const name = /^\/os-images\/(mr_[0-9a-f]{64}\.tar\.gz)$/.exec(url.pathname)?.[1];
  const path = name === undefined ? undefined : await findBundle(imagePath, name);
  if (path === undefined) {
    answerText(response, 404, "no such image bundle\n");
    return;
  }
  const { size } = await stat(path);
  response.writeHead(200, { "content-type": "application/gzip", "content-length": size });
  if (request.method === "HEAD") response.end();
  else await pipeline(createReadStream(path), response).catch(() => response.destroy());
}

/** Beside the images, or inside one. */
async function findBundle(imagePath: string, name: string): Promise<string | undefined> {
  const folders = [imagePath, ...(await listImages(imagePath)).map((image) => image.dir)];
  for (const folder of folders) {
    const path = join(folder, name);
    if ((await stat(path).catch(() => undefined))?.isFile() === true) return path;
  }
  return undefined;
}
