import { test } from "node:test";
import assert from "node:assert/strict";
import { isAdmin, ADMIN_REALM } from "../src/rpc/admin-auth.ts";
import { vector } from "./support/vectors.ts";

interface Cases {
  readonly token: string;
  readonly www_authenticate: string;
  readonly cases: readonly { method?: string; query?: string; headers: Record<string, string>; status: number }[];
}

const lowerCase = (headers: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

test("accepts and refuses credentials as recorded", (t) => {
  const vectors = vector<Cases>(t, "admin-auth.json");
  if (vectors === undefined) return;
  assert.equal(ADMIN_REALM, vectors.www_authenticate);
  for (const row of vectors.cases) {
    const allowed = isAdmin(
      { method: row.method ?? "GET", headers: lowerCase(row.headers), query: new URLSearchParams(row.query) },
      vectors.token,
    );
    assert.equal(allowed, row.status === 200, JSON.stringify(row));
  }
});

test("Basic takes the token as password, or as user name without a password", () => {
  const basic = (text: string): boolean =>
    isAdmin(
      {
        method: "POST",
        headers: { authorization: `Basic ${Buffer.from(text).toString("base64")}` },
        query: new URLSearchParams(),
      },
      "tok:en",
    );
  assert.equal(basic("anybody:tok:en"), true);
  assert.equal(basic("tok:"), false);
  assert.equal(basic("anybody:wrong"), false);
  assert.equal(basic("nocolon"), false);
});

test("a wrong Bearer token decides, whatever the query says", () => {
  assert.equal(
    isAdmin({ method: "GET", headers: { authorization: "Bearer no" }, query: new URLSearchParams("token=t") }, "t"),
    false,
  );
  assert.equal(
    isAdmin({ method: "GET", headers: { "x-admin-token": "no" }, query: new URLSearchParams("token=t") }, "t"),
    true,
  );
});
