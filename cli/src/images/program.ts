/**
 * Guest OS images of this host.
 * In: a flavour and the pins of its packages.
 * Out: a folder of the image cache, the same bytes for the same pins; a list of such folders.
 * Never: an image from packages other than the pinned ones, or over another of its name.
 */
import type { Cli } from "../clients/cli.ts";
import type { Parent } from "../terminal/options.ts";
import { imageBuildCommand, imageCommand, imageListCommand } from "./options.ts";

export function addImageCommands(program: Parent, cli: Cli): void {
  const image = imageCommand(program);
  imageBuildCommand(image).action(async (options) => (await import("./build.ts")).imageBuild(cli, options));
  imageListCommand(image).action(async (options) => (await import("./list.ts")).imageList(cli, options));
}
