import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as places from "../src/local/places.ts";

test("every place in the checkout that the command line names is there", () => {
  const named = [
    ...Object.values(places.SERVICE_PROGRAMS),
    ...Object.values(places).filter((place) => typeof place === "string"),
  ];
  assert.ok(named.length >= 9, named.join("\n"));
  for (const place of named) assert.ok(existsSync(place), `${place} is not there: mend cli/src/local/places.ts`);
});

test("no other file of the command line spells a place in the checkout or the caches", () => {
  const sources = join(import.meta.dirname, "../src");
  const spelled = globSync("**/*.ts", { cwd: sources })
    .filter((file) => file !== "local/places.ts")
    .flatMap((file) =>
      [
        ...readFileSync(join(sources, file), "utf8").matchAll(
          /import\.meta\.(?:dirname|filename)|"(?:\.\.\/)*(?:services|examples|scripts|image)\/|join\((?:layout\.)?cache,/g,
        ),
      ].map(([text]) => `${file}: ${text}`),
    );
  // The cache of images is a path of the deployment.
  assert.deepEqual(spelled, ["local/layout.ts: join(cache,"]);
});
