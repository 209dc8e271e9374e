import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN_LOGINS, adminCredentials, challengeOf, escapeHtml } from "@dstack/http";

const T = "secret";
const base64 = (text: string): string => Buffer.from(text).toString("base64");
const basic = (text: string): Record<string, string> => ({ authorization: `Basic ${base64(text)}` });

type Row = readonly [
  what: string,
  headers: Record<string, string>,
  query: string,
  method: string,
  vmm: boolean,
  gateway: boolean,
  kms: boolean,
];

// One row a request; where the three columns differ, ADMIN_LOGINS says why.
const ROWS: readonly Row[] = [
  ["nothing", {}, "", "GET", false, false, false],
  ["X-Admin-Token right", { "x-admin-token": T }, "", "POST", true, true, true],
  ["X-Admin-Token wrong", { "x-admin-token": "no" }, "", "POST", false, false, false],
  ["Bearer right", { authorization: `Bearer ${T}` }, "", "POST", true, true, true],
  ["bearer right", { authorization: `bearer ${T}` }, "", "POST", false, true, true],
  ["Bearer, two blanks", { authorization: `Bearer  ${T}` }, "", "POST", true, true, true],
  ["Bearer without a token", { authorization: "Bearer" }, "", "POST", false, false, false],
  [
    "X-Admin-Token right, Bearer wrong",
    { "x-admin-token": T, authorization: "Bearer no" },
    "",
    "POST",
    true,
    true,
    true,
  ],
  [
    "X-Admin-Token wrong, Bearer right",
    { "x-admin-token": "no", authorization: `Bearer ${T}` },
    "",
    "POST",
    true,
    true,
    true,
  ],
  ["Bearer wrong, ?token= right", { authorization: "Bearer no" }, `token=${T}`, "GET", false, false, false],
  ["Basic, token as password", basic(`x:${T}`), "", "POST", true, true, true],
  ["Basic, token as user, empty password", basic(`${T}:`), "", "POST", true, true, true],
  ["Basic, token as user with another password", basic(`${T}:x`), "", "POST", false, false, false],
  ["Basic, token without a colon", basic(T), "", "POST", true, true, true],
  ["basic, token as password", { authorization: `basic ${base64(`x:${T}`)}` }, "", "POST", false, true, true],
  [
    "Basic without its padding",
    { authorization: `Basic ${base64(`abc:${T}`).replace(/=+$/, "")}` },
    "",
    "POST",
    false,
    false,
    false,
  ],
  ["Basic of nothing", basic(":"), "", "POST", false, false, false],
  ["Basic undecodable, ?token= right", { authorization: "Basic !!!" }, `token=${T}`, "GET", true, true, false],
  ["?token= right, GET", {}, `token=${T}`, "GET", true, true, false],
  ["?token= right, POST", {}, `token=${T}`, "POST", false, false, false],
  ["?token= empty, GET", {}, "token=", "GET", false, false, false],
  ["Basic wrong, ?token= right", basic("x:no"), `token=${T}`, "GET", false, false, false],
  ["a user of the file", basic("alice:pa:ss"), "", "POST", true, true, true],
  ["a user with a wrong password", basic("alice:pass"), "", "POST", false, false, false],
];

for (const [index, listener] of (["vmm", "gateway", "kms"] as const).entries()) {
  test(`the ${listener} lets in those whom its wire contract lets in, and nobody else`, async () => {
    const allows = adminCredentials({
      rules: ADMIN_LOGINS[listener],
      tokens: ["", "other", T],
      isUser: async (user, password) => user === "alice" && password === "pa:ss",
    });
    for (const [what, headers, query, method, ...expected] of ROWS)
      assert.equal(await allows({ method, headers, query: new URLSearchParams(query) }), expected[index], what);
  });
}

test("without a usable token nobody is let in", async () => {
  for (const rules of Object.values(ADMIN_LOGINS)) {
    const allows = adminCredentials({ rules, tokens: [""] });
    for (const [what, headers, query, method] of ROWS)
      assert.equal(await allows({ method, headers, query: new URLSearchParams(query) }), false, what);
    for (const headers of [{ "x-admin-token": "" }, { authorization: "Bearer  " }, basic(":")])
      assert.equal(await allows({ method: "GET", headers, query: new URLSearchParams("token=") }), false);
  }
});

test("a 401 names the listener", () => {
  assert.equal(challengeOf(ADMIN_LOGINS.vmm), 'Basic realm="dstack-vmm API"');
});

test("text on a page is text, also inside an attribute", () => {
  assert.equal(escapeHtml(`<a href="x">'&`), "&#60;a href=&#34;x&#34;&#62;&#39;&#38;");
});
