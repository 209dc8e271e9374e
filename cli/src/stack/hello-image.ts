import { readBusybox } from "@dstack/image/builder";
import { buildBusyboxImage, pushImage } from "@dstack/image/oci";
import { HELLO_IMAGE_FOLDER, imageBuildFolder, REPOSITORY_ROOT } from "../local/places.ts";
import type { StackLayout } from "../local/layout.ts";

/** Builds the demo app's image from Debian's busybox and puts it into the loopback registry. Returns its digest. */
export async function publishHelloImage(layout: StackLayout): Promise<string> {
  const image = await buildBusyboxImage({
    busybox: await readBusybox({ repoRoot: REPOSITORY_ROOT, cacheDir: imageBuildFolder(layout) }),
    contextDir: HELLO_IMAGE_FOLDER,
    command: ["httpd", "-f", "-p", "8080", "-h", "/www"],
    exposedPorts: [8080],
    volumes: ["/data"],
  });
  const { digest } = await pushImage({
    registryUrl: `http://127.0.0.1:${layout.ports.registry}`,
    repository: "dstack/hello",
    tag: "latest",
    image,
  });
  return digest;
}
