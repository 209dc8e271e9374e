import assert from "node:assert/strict";
import { existsSync } from "node:fs";
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
