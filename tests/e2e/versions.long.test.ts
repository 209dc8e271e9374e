/** More ways from one version to the next, each on the disk that the one before left. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { toHex } from "@dstack/bytes";
import { cannotBoot, createDeployment, type Deployment } from "./deployment.ts";
import { version, versionsApp, type VersionsApp } from "./versions-app.ts";

const skip = cannotBoot() ?? false;
const first = version({ token: "token-1", head: "name: shop", launches: true });
const second = version({ token: "token-2", head: "name: shop", launches: true });
const third = version({ token: "token-3" });

let deployment: Deployment;
let app: VersionsApp;
before(async () => {
  if (skip !== false) return;
  deployment = await createDeployment(28_100);
  await deployment.start();
  app = versionsApp(deployment, ["token-1", "token-2", "token-3"]);
  await app.create(first);
});
after(async () => {
  if (skip === false) await deployment.stop();
});

test(
  "an update of one project keeps its anonymous volumes, and nothing of the version before answers",
  { skip },
  async () => {
    const was = await app.look();
    assert.deepEqual([was.web, was.stowaway], ["token-1", "stowaway-of-token-1"]);
    const watch = app.watch();
    await app.reboot("in order", second);
    const is = await app.look();
    const seen = await watch.end();
    assert.deepEqual([is.web, is.stowaway], ["token-2", "stowaway-of-token-2"]);
    assert.ok(is.visits > was.visits, `${was.visits} visits before, then ${is.visits}`);
    assert.deepEqual(
      seen.filter(
        ({ measured, web, stowaway }) =>
          measured === toHex(second.composeHash) && `${web}${stowaway}`.includes("token-1"),
      ),
      [],
    );
  },
);

test(
  "a power cut in the middle of an update that removes the project's name changes nothing of that",
  { skip },
  async () => {
    const watch = app.watch();
    await app.reboot("power cut", third, "starting containers");
    const is = await app.look();
    const seen = await watch.end();
    assert.deepEqual([is.web, is.stowaway, is.measured], ["token-3", "", toHex(third.composeHash)]);
    assert.deepEqual(
      seen.filter(({ measured, web, stowaway }) => measured === is.measured && (web !== "token-3" || stowaway !== "")),
      [],
    );
  },
);
