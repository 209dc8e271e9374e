/** The demo's container image: Debian's static busybox plus the files of an example folder. */
import { readFile, stat } from "node:fs/promises";
import { ImageError } from "../errors.ts";
import { filesBelow } from "../builder/inputs.ts";
import { makeLayer, type LayerEntry } from "./layer.ts";
import { makeOciImage, type OciImage } from "./oci-image.ts";

export interface BusyboxImageOptions {
  /** A statically linked busybox. */
  readonly busybox: Uint8Array;
  /** Folder whose contents go to `/`; files keep their executable bit. */
  readonly contextDir?: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly exposedPorts?: readonly number[];
  readonly volumes?: readonly string[];
}

/** The commands the image has; all are links to busybox. */
const APPLETS = [
  "awk",
  "cat",
  "cp",
  "cut",
  "date",
  "echo",
  "env",
  "expr",
  "grep",
  "head",
  "httpd",
  "ls",
  "mkdir",
  "mktemp",
  "mv",
  "printf",
  "rm",
  "sed",
  "sh",
  "sha256sum",
  "sleep",
  "sync",
  "test",
  "touch",
  "tr",
  "true",
  "uname",
  "wc",
  "wget",
];
const FOLDERS = ["bin", "data", "etc", "root", "tmp", "usr", "usr/bin", "var"];

export async function buildBusyboxImage(options: BusyboxImageOptions): Promise<OciImage> {
  const entries = new Map<string, LayerEntry>();
  const add = (entry: LayerEntry): void => void entries.set(entry.path, entry);
  for (const path of FOLDERS) add({ kind: "directory", path, mode: path === "tmp" ? 0o1777 : 0o755 });
  add({ kind: "file", path: "bin/busybox", bytes: options.busybox, mode: 0o755 });
  for (const name of APPLETS) add({ kind: "link", path: `bin/${name}`, target: "busybox" });
  add({
    kind: "file",
    path: "etc/passwd",
    bytes: Buffer.from("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
  });
  add({ kind: "file", path: "etc/group", bytes: Buffer.from("root:x:0:\nnogroup:x:65534:\n") });
  if (options.contextDir !== undefined) {
    for (const file of await filesBelow(options.contextDir)) {
      const path = file.slice(options.contextDir.length + 1);
      for (const folder of parents(path)) if (!entries.has(folder)) add({ kind: "directory", path: folder });
      if (entries.get(path)?.kind === "directory")
        throw new ImageError("build-failed", `${file} would replace the folder /${path} of the image`);
      add({
        kind: "file",
        path,
        bytes: await readFile(file),
        mode: ((await stat(file)).mode & 0o111) === 0 ? 0o644 : 0o755,
      });
    }
  }
  const layer = await makeLayer([...entries.values()].sort((a, b) => (a.path < b.path ? -1 : 1)));
  return makeOciImage({
    layer,
    command: options.command,
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.exposedPorts === undefined ? {} : { exposedPorts: options.exposedPorts }),
    ...(options.volumes === undefined ? {} : { volumes: options.volumes }),
  });
}

function parents(path: string): string[] {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}
