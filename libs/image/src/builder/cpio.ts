/**
 * cpio archives in the "newc" form that the kernel unpacks as initramfs (kernel
 * documentation, driver-api/early-userspace/buffer-format): 110 bytes of ASCII header,
 * name, data, each padded to four bytes; ends with TRAILER!!!. Times, owners and inode
 * numbers are fixed, so that equal contents give equal bytes.
 */
export type CpioEntry =
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "file"; readonly path: string; readonly bytes: Uint8Array; readonly executable: boolean }
  | { readonly kind: "link"; readonly path: string; readonly target: string }
  | { readonly kind: "character-device"; readonly path: string; readonly major: number; readonly minor: number };

/** Entries in the order given; folders must come before what is in them. */
export function makeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const add = (
    inode: number,
    mode: number,
    path: string,
    data: Uint8Array,
    device: readonly [number, number] = [0, 0],
  ): void => {
    const name = Buffer.from(`${path}\0`);
    const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, device[0], device[1], name.length, 0];
    const header = Buffer.from(
      `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`,
      "latin1",
    );
    parts.push(pad(Buffer.concat([header, name])), pad(data));
  };
  for (const [index, entry] of entries.entries()) {
    const inode = index + 1;
    switch (entry.kind) {
      case "directory":
        add(inode, 0o040755, entry.path, new Uint8Array());
        break;
      case "file":
        add(inode, entry.executable ? 0o100755 : 0o100644, entry.path, entry.bytes);
        break;
      case "link":
        add(inode, 0o120777, entry.path, Buffer.from(entry.target));
        break;
      case "character-device":
        add(inode, 0o020600, entry.path, new Uint8Array(), [entry.major, entry.minor]);
        break;
    }
  }
  add(0, 0, "TRAILER!!!", new Uint8Array());
  return Buffer.concat(parts);
}

function pad(bytes: Uint8Array): Uint8Array {
  const rest = bytes.length % 4;
  return rest === 0 ? bytes : Buffer.concat([bytes, new Uint8Array(4 - rest)]);
}
