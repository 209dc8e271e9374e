import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { TestContext } from "node:test";

/** A vector file beside the checkout as text; skips the test where it is absent. */
export function vectorText(t: TestContext, path: string): string | undefined {
  const file = fileURLToPath(new URL(`../../../../shared/vectors/${path}`, import.meta.url));
  if (existsSync(file)) return readFileSync(file, "utf8");
  t.skip(`no vectors at ${file}`);
  return undefined;
}

export function gatewayVectors(t: TestContext, name: string): unknown {
  const text = vectorText(t, `gateway/${name}`);
  return text === undefined ? undefined : JSON.parse(text);
}
