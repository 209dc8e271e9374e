import assert from "node:assert/strict";
import { hypotheticalBoot } from "@dstack/governance";
import { createServer } from "node:http";
import { writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { KmsError } from "../src/errors.ts";
import { kmsParts } from "../src/kms-parts.ts";
import { Harness } from "./harness.ts";

const BOOT = hypotheticalBoot({ appId: "11", composeHash: "22", osImageHash: "33", deviceId: "44" });

let harness: Harness;
before(async () => {
  harness = await Harness.create();
});
after(() => harness.close());

test("the token of a file reaches the auth server as it is now, never the log, and an empty file asks nobody", async () => {
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end('{"isAllowed":true,"reason":"","gatewayAppId":""}');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const file = join(harness.folder, "token");
    await writeFile(file, "first-secret\n");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { auth } = await kmsParts(
      await harness.kmsOptions({
        "core.auth_api.webhook.url": `"${url}"`,
        "core.auth_api.webhook.bearer_token_file": `"${file}"`,
      }),
    );
    await auth.bootAuth("app", BOOT);
    await writeFile(file, "second-secret");
    await auth.bootAuth("app", BOOT);
    assert.deepEqual(seen, ["Bearer first-secret", "Bearer second-secret"]);
    await writeFile(file, "\n");
    await assert.rejects(
      auth.bootAuth("app", BOOT),
      (error: unknown) =>
        error instanceof KmsError && error.code === "auth-unreachable" && String(error.cause).includes("is empty"),
    );
    assert.equal(seen.length, 2);
    assert.match(harness.sink.text, /token for the auth server travels on plain http/);
    assert.doesNotMatch(harness.sink.text, /-secret/);
  } finally {
    server.close();
  }
});

test("a root file for the auth server that is not there ends the start", async () => {
  const options = await harness.kmsOptions({
    "core.auth_api.webhook.url": '"https://127.0.0.1:1"',
    "core.auth_api.webhook.ca_cert": '"/nonexistent.pem"',
  });
  await assert.rejects(kmsParts(options), /core\.auth_api\.webhook\.ca_cert: \/nonexistent\.pem cannot be read/);
});

test("the log says at the start what the policy demands, or that it demands nothing", async () => {
  await kmsParts(await harness.kmsOptions({}));
  assert.match(harness.sink.text, /"demands":"nothing beyond genuine evidence"/);
  const file = join(harness.folder, "policy.json");
  await writeFile(file, '{"accepted_statuses":["UpToDate"],"grace_days":30}');
  await kmsParts(await harness.kmsOptions({ "core.attestation.policy": `"${file}"` }));
  assert.match(harness.sink.text, /"demands":"status UpToDate; outdated for 30 days at most"/);
});
