/**
 * image/packages.lock, one pinned package per line:
 *
 *   group name version sha256 sizeBytes file
 *
 * separated by single spaces, sorted by group and name; lines starting with `#` are comments.
 */
import { ImageError } from "../errors.ts";

export interface PinnedPackage {
  /** What the package is for: `rootfs`, `tools`, `kernel` or `firmware`. */
  readonly group: string;
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Path below the mirror's base, for a reader who wants to fetch it by hand. */
  readonly file: string;
}

const LINE = /^([a-z]+) ([a-z0-9][a-z0-9+.-]*) ([A-Za-z0-9.+:~-]+) ([0-9a-f]{64}) ([0-9]{1,12}) (pool\/[^\s]+\.deb)$/;

/** @throws ImageError `bad-lock` naming the line */
export function parsePackageLock(text: string): PinnedPackage[] {
  const seen = new Set<string>();
  const pins: PinnedPackage[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "" || line.startsWith("#")) continue;
    const match = LINE.exec(line);
    if (match === null)
      throw new ImageError(
        "bad-lock",
        `image/packages.lock line ${index + 1}: expected "group name version sha256 size pool/….deb", got "${line.slice(0, 120)}"`,
      );
    const [, group = "", name = "", version = "", sha256 = "", size = "", file = ""] = match;
    const key = `${group} ${name}`;
    if (seen.has(key))
      throw new ImageError(
        "bad-lock",
        `image/packages.lock line ${index + 1}: ${name} is listed twice in group ${group}`,
      );
    seen.add(key);
    pins.push({ group, name, version, sha256, sizeBytes: Number(size), file });
  }
  return pins;
}

export function formatPackageLock(pins: readonly PinnedPackage[]): string {
  const lines = pins
    .map((pin) => `${pin.group} ${pin.name} ${pin.version} ${pin.sha256} ${pin.sizeBytes} ${pin.file}`)
    .sort();
  return `# The Debian packages of the guest image: group name version sha256 size file\n# Written by "dstack image build --update-lock"; see docs/reference/images.md.\n${lines.join("\n")}\n`;
}

/** What changed between two locks, one line each, for people: `rootfs bash 5.2-1 -> 5.2-2`. */
export function describeLockChanges(before: readonly PinnedPackage[], after: readonly PinnedPackage[]): string[] {
  const key = (pin: PinnedPackage): string => `${pin.group} ${pin.name}`;
  const old = new Map(before.map((pin) => [key(pin), pin]));
  const current = new Map(after.map((pin) => [key(pin), pin]));
  const changes: string[] = [];
  for (const [name, pin] of current) {
    const was = old.get(name);
    if (was === undefined) changes.push(`${name} ${pin.version} added`);
    else if (was.sha256 !== pin.sha256) changes.push(`${name} ${was.version} -> ${pin.version}`);
  }
  for (const [name, pin] of old) if (!current.has(name)) changes.push(`${name} ${pin.version} removed`);
  return changes.sort();
}
