import assert from "node:assert/strict";
import { test } from "node:test";
import { clientCertificates } from "../src/gateway/client-certificates.ts";

test("a certificate for the gateway is kept until it ends soon, one of each kind at a time", async () => {
  let now = 1_000;
  const issued: boolean[] = [];
  const certificate = clientCertificates(
    {
      issue: async (_key, { withEvidence, notAfter }) => {
        issued.push(withEvidence);
        assert.equal(notAfter, now + 864_000);
        return ["leaf"];
      },
    },
    () => now,
  );
  const first = await certificate(false);
  assert.equal(await certificate(false), first);
  now += 864_000 - 601;
  assert.equal(await certificate(false), first, "ten minutes and a second are enough");
  now += 1;
  assert.notEqual(await certificate(false), first);
  await certificate(true);
  assert.deepEqual(issued, [false, false, true]);
});
