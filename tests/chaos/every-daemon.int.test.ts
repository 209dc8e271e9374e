import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "../workspaces.ts";
import { EVERY_DAEMON } from "./every-daemon.ts";

/** Opened by no daemon that strangers or operators reach. */
const NOT_WALKED = [
  // Where it is made.
  "libs/rpc/src/http-server.ts",
  // The simulated collateral server, for development alone.
  "services/tee-simulator/src/mock-pccs.ts",
  // The simulated key provider, likewise.
  "services/tee-simulator/src/software-key-provider.ts",
  // Asks for a moment whether a port is free.
  "services/vmm/src/launch/port-mapping.ts",
];

test("whoever opens a listener is walked over", () => {
  const opening = globSync("{libs,services}/*/src/**/*.ts", { cwd: ROOT }).filter((file) =>
    /\b(?:startHttpServer|create\w*Server)\(/.test(readFileSync(join(ROOT, file), "utf8")),
  );
  const walked = Object.values(EVERY_DAEMON).flatMap(({ sources }) => sources);
  assert.deepEqual(opening.toSorted(), [...walked, ...NOT_WALKED].toSorted());
});
