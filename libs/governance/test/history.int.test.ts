import assert from "node:assert/strict";
import { generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { checkHistory, writeWithHistory } from "../src/history.ts";
import { signingKey } from "../src/signing-key.ts";

const folder = await mkdtemp(join(tmpdir(), "history-"));
after(() => rm(folder, { recursive: true }));
const path = join(folder, "auth-config.json");
const historyPath = join(folder, "auth-config.history.jsonl");
const key = await signingKey(join(folder, "key.pem"));

const write = (text: string): Promise<boolean> =>
  writeWithHistory({
    path,
    historyPath,
    key,
    by: "ann@desk",
    now: new Date(0),
    change: () => ({ text, changes: [{ sign: "+", path: "osImages", value: text }] }),
  });

test("each change leaves a signed entry that follows the one before", async () => {
  assert.equal(await write("one"), true);
  assert.equal(await write("two"), true);
  assert.equal(await readFile(path, "utf8"), "two");
  const { entries, broken } = checkHistory(await readFile(historyPath, "utf8"));
  assert.equal(broken, undefined);
  assert.deepEqual(
    entries.map(({ sequence, by }) => [sequence, by]),
    [
      [1, "ann@desk"],
      [2, "ann@desk"],
    ],
  );
  assert.equal(entries[1]?.before, entries[0]?.after);
  assert.equal((await stat(join(folder, "key.pem"))).mode & 0o777, 0o600);
  assert.equal(
    (await signingKey(join(folder, "key.pem"))).export({ type: "pkcs8", format: "pem" }),
    key.export({ type: "pkcs8", format: "pem" }),
  );
});

test("a change that is none writes nothing", async () => {
  const before = await readFile(historyPath, "utf8");
  assert.equal(
    await writeWithHistory({ path, historyPath, key, by: "x", now: new Date(), change: () => undefined }),
    false,
  );
  assert.equal(await readFile(historyPath, "utf8"), before);
});

test("every tampering shows and stops further changes", async () => {
  const good = await readFile(historyPath, "utf8");
  const [first = "", second = ""] = good.trimEnd().split("\n");
  const { privateKey } = generateKeyPairSync("ed25519");
  for (const [bad, why] of [
    [`${second}\n`, /has number 2/],
    [`${first.replace("ann@desk", "bob@desk")}\n${second}\n`, /line 1 has a bad signature/],
    [`${first}\n${first}\n`, /has number 1/],
    [`${first}\n${second.slice(0, -10)}\n`, /line 2 is no entry/],
    [`${first.replace('"sequence":1', '"sequence":1,"extra":1')}\n`, /no entry/],
    [
      `${first.replace(/"key":"[^"]+"/, `"key":"${privateKey.export({ type: "pkcs8", format: "der" }).toString("base64")}"`)}\n`,
      /bad signature/,
    ],
  ] as const) {
    assert.match(checkHistory(bad).broken ?? "", why);
    await writeFile(historyPath, bad);
    await assert.rejects(write("three"), /nothing was changed/);
    assert.equal(await readFile(path, "utf8"), "two");
  }
  await writeFile(historyPath, good);
  assert.equal(await write("three"), true);
});

test("an entry that somebody else signed follows the line before all the same", async () => {
  const [first = "", second = ""] = (await readFile(historyPath, "utf8")).trimEnd().split("\n");
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const { signature: _, ...entry } = JSON.parse(second) as Record<string, unknown>;
  const signed = (changed: object, as: KeyObject = privateKey, shown: KeyObject = publicKey): string => {
    const unsigned = { ...entry, key: shown.export({ type: "spki", format: "der" }).toString("base64"), ...changed };
    const bytes = Buffer.from(JSON.stringify(unsigned));
    return `${first}\n${JSON.stringify({ ...unsigned, signature: sign(null, bytes, as).toString("base64") })}\n`;
  };
  assert.equal(checkHistory(signed({})).broken, undefined);
  for (const previous of ["0".repeat(64), "ab".repeat(32)])
    assert.match(checkHistory(signed({ previous })).broken ?? "", /line 2 does not follow the line before/);
  const curve = generateKeyPairSync("ec", { namedCurve: "P-256" });
  assert.match(checkHistory(signed({}, curve.privateKey, curve.publicKey)).broken ?? "", /line 2 has a bad signature/);
});

test("an entry is written in one way, so that all read the same in it", async () => {
  const [first = ""] = (await readFile(historyPath, "utf8")).trimEnd().split("\n");
  for (const other of [
    first.replace('"by":', '"by":"bob@desk","by":'),
    first.replace('"by":', '"by": '),
    first.replace("ann@desk", "\\u0061nn@desk"),
    `${first} `,
  ])
    assert.match(
      checkHistory(`${other}\n`).broken ?? "",
      /line 1 is no entry: it is not written as entries are/,
      other,
    );
});

test("a line that a crash cut off never came into force, and stops nobody", async () => {
  const whole = await readFile(historyPath, "utf8");
  await writeFile(historyPath, `${whole}{"sequence":`);
  assert.match(checkHistory(await readFile(historyPath, "utf8")).broken ?? "", /no entry/);
  assert.equal(await write("four"), true);
  assert.equal(checkHistory(await readFile(historyPath, "utf8")).entries.length, 4);
});

test("writers at the same time wait for each other", async () => {
  await Promise.all(["five", "six", "seven"].map(write));
  const { entries, broken } = checkHistory(await readFile(historyPath, "utf8"));
  assert.deepEqual([entries.length, broken], [7, undefined]);
});
