import assert from "node:assert/strict";
import { ADMIN_LOGINS, adminCredentials, challengeOf } from "@dstack/http";
import { vectorTest } from "../../../tests/vectors/vector-sets.ts";

interface Cases {
  readonly token: string;
  readonly www_authenticate: string;
  readonly cases: readonly { method?: string; query?: string; headers: Record<string, string>; status: number }[];
}

const lowerCase = (headers: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

vectorTest("accepts and refuses credentials as the vectors say", "gateway/admin-auth.json", async ({ json }) => {
  const vectors = json<Cases>("gateway/admin-auth.json");
  assert.equal(challengeOf(ADMIN_LOGINS.gateway), vectors.www_authenticate);
  const isAdmin = adminCredentials({ rules: ADMIN_LOGINS.gateway, tokens: [vectors.token] });
  for (const row of vectors.cases) {
    const allowed = await isAdmin({
      method: row.method ?? "GET",
      headers: lowerCase(row.headers),
      query: new URLSearchParams(row.query),
    });
    assert.equal(allowed, row.status === 200, JSON.stringify(row));
  }
});
