import assert from "node:assert/strict";
import { test } from "node:test";
import { refuseForeignSite } from "../src/api/browser-guard.ts";
import { managementAuth } from "../src/api/management-auth.ts";
import { camelKeys } from "../src/config/camel-keys.ts";
import { parseQemuVersion } from "../src/launch/qemu-binary.ts";
import { isVmNote } from "../src/supervisor/supervisor-client.ts";
import { appUrl, humanDuration } from "../src/api/vm-info.ts";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

interface AuthCase {
  method: string;
  path: string;
  headers: Record<string, string>;
  status: number;
  note?: string;
}

const ask = (
  tokens: string[],
  { method, path, headers }: Pick<AuthCase, "method" | "path" | "headers">,
): Promise<boolean> =>
  managementAuth({ enabled: true, tokens })({
    method,
    query: new URL(path, "http://host").searchParams,
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
  });

vectorTest("lets in and refuses whom the vectors say", "vmm/auth_cases.json", async ({ json }) => {
  const { tokens, requests } = json<{ tokens: string[]; requests: AuthCase[] }>("vmm/auth_cases.json");
  assert.ok(requests.length > 10);
  // Password files are not supported: their cases end as without one.
  for (const request of requests.filter(
    ({ headers }) => !(headers["Authorization"] ?? "").startsWith("Basic ") || !isAlice(headers["Authorization"]!),
  )) {
    assert.equal(
      await ask(tokens, request),
      request.status !== 401,
      `${request.method} ${request.path} ${JSON.stringify(request.headers)}`,
    );
  }
});

const isAlice = (header: string): boolean => Buffer.from(header.slice(6), "base64").toString().startsWith("alice:");

test("being on without a usable token denies everybody, and off lets everybody in", async () => {
  const bare = { method: "GET", path: "/?token=", headers: { Authorization: "Bearer " } };
  assert.equal(await ask([], bare), false);
  assert.equal(await ask([""], bare), false);
  assert.equal(
    await managementAuth({ enabled: false, tokens: [] })({ method: "GET", query: new URLSearchParams(), headers: {} }),
    true,
  );
});

test("a foreign site is told apart by origin, fetch metadata and host", () => {
  const host = "127.0.0.1:9080";
  const post = (headers: Record<string, string>): string | undefined =>
    refuseForeignSite({ method: "POST", headers: { host, ...headers } }, true);
  assert.equal(post({}), undefined);
  assert.equal(post({ origin: "http://127.0.0.1:9080", "sec-fetch-site": "same-origin" }), undefined);
  for (const headers of [
    { origin: "http://127.0.0.1:9081" },
    { origin: "null" },
    { origin: "http://127.0.0.1:9080.evil" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { host: "evil.example:9080" },
    { host: "127.0.0.1.evil.example" },
  ]) {
    assert.ok(post(headers as Record<string, string>), JSON.stringify(headers));
  }
  for (const own of ["localhost:9080", "vmm.localhost", "[::1]:9080", "10.1.2.3"])
    assert.equal(post({ host: own }), undefined, own);
  assert.equal(refuseForeignSite({ method: "POST", headers: { host: "vmm.example.com" } }, false), undefined);
  // Following a link to the console is no attack: nothing is changed by a GET.
  assert.equal(
    refuseForeignSite(
      { method: "GET", headers: { host, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" } },
      true,
    ),
    undefined,
  );
  assert.ok(
    refuseForeignSite(
      { method: "GET", headers: { host, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" } },
      true,
    ),
  );
});

vectorTest("reads QEMU's version as the vectors say", "vmm/qemu_version.json", ({ json }) => {
  for (const { output, version } of json<{ cases: { output: string; version: string | null }[] }>(
    "vmm/qemu_version.json",
  ).cases)
    assert.equal(parseQemuVersion(output) ?? null, version);
});

vectorTest("tells VMs from their helpers by the note, as the vectors say", "vmm/supervisor_http.json", ({ json }) => {
  for (const [note, expected] of json<{ note_is_cvm: [string, boolean][] }>("vmm/supervisor_http.json").note_is_cvm)
    assert.equal(isVmNote(note), expected, note);
});

vectorTest("builds app addresses as the vectors say", "vmm/app_url.json", ({ json }) => {
  const { instance_id, cases } = json<{
    instance_id: string;
    cases: { vm_gateway_urls: string[]; base_domain: string; port: number; agent_port: number; app_url: string }[];
  }>("vmm/app_url.json");
  for (const { vm_gateway_urls, app_url, ...gateway } of cases)
    assert.equal(appUrl(instance_id, vm_gateway_urls, camelKeys(gateway)), app_url);
});

test("durations read as people say them", () => {
  assert.deepEqual([0, 59, 62, 3_600, 93_784, 2 * 86_400].map(humanDuration), [
    "0s",
    "59s",
    "1m 2s",
    "1h",
    "1day 2h 3m 4s",
    "2days",
  ]);
});
