import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { toHex } from "@dstack/bytes";
import { cannotBoot, createDeployment, type Deployment } from "./deployment.ts";
import { version, versionsApp, type VersionsApp } from "./versions-app.ts";

const skip = cannotBoot() ?? false;
const first = version({ token: "token-1", launches: true });
const second = version({ token: "token-2", head: "name: renamed" });

let deployment: Deployment;
let app: VersionsApp;
before(async () => {
  if (skip !== false) return;
  deployment = await createDeployment(27_100);
  await deployment.start();
  app = versionsApp(deployment, ["token-1", "token-2"]);
  await app.create(first);
});
after(async () => {
  if (skip === false) await deployment.stop();
});

test(
  "a container that the app started through Docker comes back after a reboot, and volumes are the same",
  { skip },
  async () => {
    const was = await app.look();
    assert.equal(was.web, "token-1");
    assert.equal(was.stowaway, "stowaway-of-token-1");
    await app.reboot("in order");
    const is = await app.look();
    assert.deepEqual({ ...is, visits: 0 }, { ...was, visits: 0 });
    assert.ok(is.visits > was.visits, `${was.visits} visits before, then ${is.visits}`);
    const { stdout } = await deployment.cli("logs", "versions", "--lines", "5000");
    assert.doesNotMatch(stdout, /did not stop in order/, "the stop needs no variables");
  },
);

test(
  "nothing of the version before runs under the measurement of the next, whatever its restart policy, and a project may be renamed",
  { skip },
  async () => {
    const was = await app.look();
    assert.deepEqual([was.web, was.stowaway], ["token-1", "stowaway-of-token-1"]);
    assert.equal(was.measured, toHex(first.composeHash));
    const watch = app.watch();
    await app.reboot("power cut", second);
    const is = await app.look();
    const seen = await watch.end();
    assert.deepEqual([is.web, is.stowaway], ["token-2", ""]);
    assert.equal(is.measured, toHex(second.composeHash));
    assert.ok(seen.some(({ web }) => web === "token-2") && seen.length > 1, "the whole boot was watched");
    assert.deepEqual(
      seen.filter(({ measured, web, stowaway }) => measured === is.measured && (web !== "token-2" || stowaway !== "")),
      [],
    );
  },
);
