import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { hash48, reportData } from "@dstack/bytes";
import { AttestError, parseQuote, trustAnchorFromPem } from "@dstack/attest";
import { CollateralFetcher, verifyQuote } from "@dstack/attest/node";
import { createLogger } from "@dstack/log";
import { mockPki, parseSeed, signMockQuote, startMockPccs } from "@dstack/tee-simulator";

const log = createLogger({ name: "test", level: "error" });
const pki = mockPki(parseSeed("77".repeat(32)));
const trustAnchor = trustAnchorFromPem(pki.rootPem);
const zero = hash48(new Uint8Array(48));
const quote = signMockQuote(
  pki,
  { mrTd: zero, rtmr: [zero, zero, zero, zero], mrConfigId: zero },
  reportData(new Uint8Array(64)),
);

test("serves collateral that verifies its quotes, fetched once for many and again when stale", async (t) => {
  const server = await startMockPccs({ pki, host: "127.0.0.1", port: 0, log, clock: Date });
  t.after(() => server.close());
  let requests = 0;
  const counted: typeof fetch = (...args) => {
    requests++;
    return fetch(...args);
  };
  let time = Date.now();
  for (const suffix of ["", "/", "/tdx/certification/v4", "/sgx/certification/v4/"]) {
    requests = 0;
    const fetcher = new CollateralFetcher({
      endpoints: [`http://${server.address}${suffix}`],
      trustAnchor,
      fetch: counted,
      clock: { now: () => time },
    });
    const [first, second] = await Promise.all([
      fetcher.collateralFor(parseQuote(quote)),
      fetcher.collateralFor(parseQuote(quote)),
    ]);
    assert.equal(first, second);
    assert.equal(await fetcher.collateralFor(parseQuote(quote)), first);
    assert.equal(requests, 4);
    const verification = verifyQuote(quote, first, { now: Math.floor(Date.now() / 1000), trustAnchor });
    assert.ok(verification.ok, verification.ok ? "" : verification.reason);
    time += 5 * 3_600_000;
    await fetcher.collateralFor(parseQuote(quote));
    assert.equal(requests, 8);
    time -= 5 * 3_600_000;
  }
});

test("gives up at its deadline, on errors and on documents without end", async (t) => {
  const answers: Record<string, (response: import("node:http").ServerResponse) => void> = {
    slow: () => undefined,
    error: (response) => void response.writeHead(404).end(),
    endless: (response) => {
      const more = (): void => {
        while (response.write(Buffer.alloc(65_536))) if (response.destroyed) return;
        response.once("drain", more);
      };
      more();
    },
  };
  const server = createServer((request, response) => answers[request.url?.split("/")[1] ?? ""]?.(response));
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const [path, code] of [
    ["slow", "collateral-unavailable"],
    ["error", "collateral-unavailable"],
    ["endless", "collateral-malformed"],
  ]) {
    const fetcher = new CollateralFetcher({ endpoints: [`${base}/${path}`], trustAnchor, timeoutMs: 500 });
    await assert.rejects(
      fetcher.collateralFor(parseQuote(quote)),
      (error: unknown) => error instanceof AttestError && error.code === code,
      path,
    );
  }
  const dead = new CollateralFetcher({ endpoints: ["http://127.0.0.1:1"], trustAnchor });
  await assert.rejects(dead.collateralFor(parseQuote(quote)), /ECONNREFUSED|bad port/);
  assert.throws(() => new CollateralFetcher({ endpoints: ["ftp://x"], trustAnchor }), AttestError);
});
