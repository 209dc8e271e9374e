import { toHex } from "@dstack/bytes";
import { listImages } from "@dstack/image";
import type { Cli } from "../clients/cli.ts";
import { table } from "../terminal/output.ts";
import type { ImageListOptions } from "./options.ts";

/** `dstack image list` */
export async function imageList({ layout, out }: Cli, { output }: ImageListOptions): Promise<void> {
  const { json, print, say } = out;
  const images = await listImages(layout.images, (name, reason) => say(`${name} is skipped: ${reason}`));
  const rows = images.map((image) => ({
    name: image.name,
    version: image.version,
    is_dev: image.metadata.is_dev ?? false,
    os_image_hash: image.osImageHash === undefined ? null : toHex(image.osImageHash),
  }));
  if (output === "json") json(rows);
  else if (rows.length === 0) print("no images; build one with `dstack image build`");
  else
    print(
      table(
        ["NAME", "VERSION", "DEV", "OS IMAGE HASH"],
        rows.map((row) => [row.name, row.version, row.is_dev ? "yes" : "no", row.os_image_hash ?? "-"]),
      ),
    );
}
