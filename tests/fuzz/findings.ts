import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Target } from "./target.ts";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Inputs that once failed; they are read again by every test run. */
export function findingsOf(target: Target): { readonly file: string; readonly input: Uint8Array }[] {
  const folder = join(ROOT, target.findings);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.startsWith(`${target.name}-`))
    .toSorted()
    .map((file) => ({ file: join(target.findings, file), input: new Uint8Array(readFileSync(join(folder, file))) }));
}

/** Keeps an input under a name made of its content. @returns the path, relative to the checkout */
export function saveFinding(target: Target, input: Uint8Array): string {
  const file = join(
    target.findings,
    `${target.name}-${createHash("sha256").update(input).digest("hex").slice(0, 16)}.bin`,
  );
  mkdirSync(join(ROOT, target.findings), { recursive: true });
  writeFileSync(join(ROOT, file), input);
  return file;
}
