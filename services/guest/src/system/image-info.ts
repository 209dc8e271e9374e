import { readTextIfExists } from "@dstack/files";
import { GuestError } from "../errors.ts";
import { osReleaseValue } from "./os-release.ts";
import type { GuestPaths } from "./paths.ts";

/** What the (measured) root file system says about itself. */
export interface ImageInfo {
  readonly osName: string;
  readonly osVersion: string | undefined;
  readonly isDev: boolean;
}

/** An image without the file is a production image: nothing insecure is ever on by absence. */
export async function readImageInfo(paths: Pick<GuestPaths, "imageInfo" | "osRelease">): Promise<ImageInfo> {
  let osRelease: string | undefined;
  for (const path of paths.osRelease) osRelease ??= await readTextIfExists(path);
  return {
    osName: osReleaseValue(osRelease ?? "", "PRETTY_NAME") ?? osReleaseValue(osRelease ?? "", "NAME") ?? "Linux",
    osVersion: osReleaseValue(osRelease ?? "", "VERSION_ID"),
    isDev: parseIsDev(await readTextIfExists(paths.imageInfo)),
  };
}

function parseIsDev(text: string | undefined): boolean {
  if (text === undefined) return false;
  try {
    return (JSON.parse(text) as { is_dev?: unknown } | null)?.is_dev === true;
  } catch (cause) {
    throw new GuestError("config-invalid", "/etc/dstack-image.json is not JSON", { cause });
  }
}
