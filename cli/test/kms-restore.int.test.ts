import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { toHex } from "@dstack/bytes";
import {
  decodeBackup,
  decodeSession,
  encodeSession,
  encodeShare,
  generateOperatorKey,
  openOwnShare,
  operatorKeyFromPem,
  resealShare,
} from "@dstack/key-backup";
import { generateP256, p256FromPem } from "@dstack/keys";
import { errorChain } from "@dstack/errors";
import { createLogger } from "@dstack/log";
import { mockPki, parseSeed, startMockPccs } from "@dstack/tee-simulator";
import { Harness } from "../../services/kms/test/harness.ts";
import { startMockAgent, type MockAgent } from "../../services/kms/test/mock-agent.ts";
import { startScriptedWebhook, type ScriptedWebhook } from "../../services/kms/test/scripted-webhook.ts";
import { makeBackup, startKms, type Kms } from "../../services/kms/test/start-kms.ts";
import { createCli, type Cli } from "../src/clients/cli.ts";
import { kmsBackup } from "../src/kms/backup.ts";
import { kmsRestore } from "../src/kms/restore.ts";
import { kmsShareSubmit } from "../src/kms/share-submit.ts";
import { kmsKeygen } from "../src/kms/keygen.ts";
import { kmsShareOpen } from "../src/kms/share-open.ts";
import type { KmsShareOpenOptions } from "../src/kms/options.ts";
import { CliError } from "../src/terminal/errors.ts";
import { captured } from "./captured.ts";

const ADMIN_TOKEN = "an administration token";
const OPERATORS = ["ana", "bob", "eve"] as const;
let harness: Harness;
let agent: MockAgent;
let auth: ScriptedWebhook;
let kms: Kms;
let cli: Cli;
let pccs: string;
let operators: Record<string, string>;
const at = (name: string): string => join(harness.folder, name);

before(async () => {
  harness = await Harness.create();
  agent = await startMockAgent(harness, at("agent.sock"), "1");
  auth = await startScriptedWebhook();
  auth.kms.add(agent.mrAggregated);
  cli = createCli({
    XDG_CACHE_HOME: at("cache"),
    XDG_STATE_HOME: at("state"),
    DSTACK_KMS_ADMIN_TOKEN: ADMIN_TOKEN,
  });
  const publicKeys: string[] = [];
  for (const name of OPERATORS) {
    await captured(() => kmsKeygen(cli, { out: at(`${name}.key`), output: "text" }));
    publicKeys.push(toHex(operatorKeyFromPem(await readFile(at(`${name}.key`), "utf8")).publicKey));
  }
  operators = { "core.backup.operators": JSON.stringify(publicKeys), "core.backup.threshold": "2" };
  kms = await harness.start(
    {
      ...attested(),
      "core.onboard.auto_bootstrap_domain": '"127.0.0.1"',
      "core.admin.enabled": "true",
      "core.admin.port": "0",
      "core.admin.auth_token": `"${ADMIN_TOKEN}"`,
      ...operators,
    },
    { DSTACK_AGENT_ADDRESS: agent.address },
  );
  ({
    pccsUrls: [pccs],
  } = (await harness.kmsOptions({})).config as unknown as { pccsUrls: [string] });
  await captured(() =>
    kmsBackup(cli, { url: adminUrl(), out: at("backup.json"), rootCa: at("keys/root-ca.crt"), output: "text" }),
  );
  await writeFile(at("root-ca.crt"), await readFile(at("keys/root-ca.crt")));
});
after(async () => {
  for (const stop of stops) stop.abort(new Error("tests are over"));
  agent?.close();
  auth?.close();
  await harness.close();
});
beforeEach(() => {
  agent.answerFor = undefined;
  auth.kms.add(agent.mrAggregated);
});

const adminUrl = (): string => `http://${kms.admin!.address}`;
const attested = (): Record<string, string> => ({
  "core.attest_rpc_cert": "true",
  "core.enforce_self_authorization": "true",
  "core.auth_api.webhook.url": `"${auth.url}"`,
});

/** The error's text with its exit code, or the command's words where it ends without one. */
async function refusal(run: () => Promise<number | void>): Promise<string> {
  try {
    const { code, text } = await captured(run);
    return `${code}: ${text}`;
  } catch (error) {
    assert.ok(error instanceof CliError, errorChain(error));
    return `${error.exitCode}: ${errorChain(error)}`;
  }
}

interface Fresh {
  readonly url: string;
  readonly folder: string;
  readonly session: string;
  readonly kms: Promise<Kms>;
  readonly abandon: () => Promise<void>;
}

let count = 0;
const stops: AbortController[] = [];
/** A KMS without keys at its set-up listener. */
async function freshKms(change: Readonly<Record<string, string>> = {}): Promise<Fresh> {
  const folder = at(`fresh-${count}`);
  const session = at(`session-${count++}.json`);
  const stop = new AbortController();
  stops.push(stop);
  const from = harness.sink.text.length;
  const options = await harness.kmsOptions(
    {
      ...attested(),
      ...operators,
      "core.cert_dir": `"${folder}"`,
      "core.onboard.auto_bootstrap_domain": '""',
      "core.onboard.address": '"127.0.0.1"',
      "core.onboard.port": "0",
      ...change,
    },
    { DSTACK_AGENT_ADDRESS: agent.address },
  );
  const started = startKms({ ...options, signal: stop.signal });
  started.catch(() => undefined);
  let address: string | undefined;
  for (let tries = 0; address === undefined && tries < 1_000; tries++) {
    address = /"address":"([^"]+)"[^\n]*no keys yet/.exec(harness.sink.text.slice(from))?.[1];
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    url: `http://${address}`,
    folder,
    session,
    kms: started,
    abandon: async () => {
      stop.abort(new Error("test is over"));
      await assert.rejects(started, { code: "stopped" });
    },
  };
}

const begin = (fresh: Fresh, backup = at("backup.json"), session = fresh.session) =>
  kmsRestore(cli, backup, { url: fresh.url, domain: "127.0.0.1", session, output: "text" });
const open = (
  operator: string,
  fresh: Fresh,
  change: Partial<KmsShareOpenOptions> = {},
  backup = at("backup.json"),
): Promise<number | void> =>
  kmsShareOpen(cli, backup, {
    key: at(`${operator}.key`),
    session: fresh.session,
    rootCa: at("root-ca.crt"),
    domain: "127.0.0.1",
    mrAggregated: [agent.mrAggregated],
    acceptTcb: [],
    root: at("root.pem"),
    pccs: [pccs],
    out: `${fresh.session}.${operator}`,
    output: "text",
    ...change,
  });
const submit = (operator: string, fresh: Fresh, share = `${fresh.session}.${operator}`) =>
  kmsShareSubmit(cli, share, { url: fresh.url, output: "text" });
const keysIn = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => /\.(key|crt)$/.test(name));

/** Every form in which a secret could stand in a text. */
function forms(secret: Uint8Array): string[] {
  const bytes = Buffer.from(secret);
  return [bytes.toString("hex"), bytes.toString("base64"), bytes.toString("base64url"), [...bytes].join(",")];
}

test(
  "a KMS that was destroyed comes back with two of three shares, and gives every app the keys it had",
  { timeout: 600_000 },
  async () => {
    const guest = harness.guest();
    const before = await harness.getAppKey(guest);
    const rootScalar = p256FromPem(await readFile(at("keys/root-ca.key"), "utf8")).scalar;
    const rootK256 = new Uint8Array(await readFile(at("keys/root-k256.key")));

    const fresh = await freshKms();
    assert.match((await captured(() => begin(fresh))).text, /give it to 2 of the 3 operators/);
    for (const name of ["ana", "eve"]) assert.equal((await captured(() => open(name, fresh))).code, 0);
    assert.match((await captured(() => submit("eve", fresh))).text, /share 1 of 2 received/);
    assert.deepEqual(await keysIn(fresh.folder), [], "one share of two restores nothing");
    assert.match(
      (await captured(() => submit("eve", fresh))).text,
      /share 1 of 2 received/,
      "a share that comes twice counts once",
    );

    await kms.close();
    await rm(at("keys"), { recursive: true });
    assert.match((await captured(() => submit("ana", fresh))).text, /^restored/);
    kms = harness.kms = await fresh.kms;
    const after = await harness.getAppKey(guest);
    for (const key of ["diskCryptKey", "envCryptKey", "k256Key"] as const)
      assert.deepEqual(after[key], before[key], key);
    assert.deepEqual(await readFile(join(fresh.folder, "root-k256.key")), Buffer.from(rootK256));

    const [record] = (await readFile(join(fresh.folder, "audit.jsonl"), "utf8"))
      .split("\n")
      .map((line) => JSON.parse(line || "{}") as Record<string, unknown>);
    assert.deepEqual(
      [record?.["action"], record?.["outcome"], (record?.["operators"] as string[] | undefined)?.length],
      ["restore", "restored", 2],
    );
    const shares = await Promise.all(
      OPERATORS.map(
        async (name) =>
          openOwnShare(
            decodeBackup(new Uint8Array(await readFile(at("backup.json")))),
            operatorKeyFromPem(await readFile(at(`${name}.key`), "utf8")),
          ).share,
      ),
    );
    const files = await Promise.all(
      [at("backup.json"), fresh.session, `${fresh.session}.ana`, `${fresh.session}.eve`].map((path) =>
        readFile(path, "utf8"),
      ),
    );
    for (const secret of [rootScalar, rootK256, ...shares]) {
      for (const form of forms(secret))
        for (const text of [harness.sink.text, ...files])
          assert.ok(!text.includes(form), "a root key or share stands in a log or a file");
    }
  },
);

test("a backup is on record before it leaves, for those alone whom the configuration names", async () => {
  const backup = await readFile(at("backup.json"));
  const { header } = decodeBackup(new Uint8Array(backup));
  assert.deepEqual([header.threshold, header.operators.length], [2, 3]);
  assert.equal((await stat(at("backup.json"))).mode & 0o777, 0o600);
  const run = (tokens: NodeJS.ProcessEnv, name: string): Promise<string> =>
    refusal(() => kmsBackup(createCli(tokens), { url: adminUrl(), out: at(name), output: "text" }));
  // The restored KMS of the test before has no administration: start one that has, without operators.
  await kms.close();
  const folder = (await readdir(harness.folder)).find((name) => name.startsWith("fresh-"))!;
  kms = harness.kms = await harness.start(
    {
      ...attested(),
      "core.cert_dir": `"${at(folder)}"`,
      "core.admin.enabled": "true",
      "core.admin.port": "0",
      "core.admin.auth_token": `"${ADMIN_TOKEN}"`,
    },
    { DSTACK_AGENT_ADDRESS: agent.address },
  );
  assert.match(await run({}, "x.json"), /^3: .*wants a token/);
  assert.match(await run({ DSTACK_KMS_ADMIN_TOKEN: "wrong" }, "x.json"), /^3: .*wants a token/);
  assert.match(
    await run(cli.env, "x.json"),
    /^3: .*no operators are configured.*rule backup, field core.backup.operators/,
  );
  const lines = (await readFile(join(at(folder), "audit.jsonl"), "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    lines.filter(({ action }) => action === "backup").map(({ outcome, field }) => [outcome, field]),
    [["refused", "core.backup.operators"]],
  );
  await kms.close();
  kms = harness.kms = await harness.start(
    {
      ...attested(),
      "core.cert_dir": `"${at(folder)}"`,
      "core.admin.enabled": "true",
      "core.admin.port": "0",
      "core.admin.auth_token": `"${ADMIN_TOKEN}"`,
      "core.backup.operators": JSON.stringify(header.operators.map(toHex)),
      "core.backup.threshold": "2",
      "core.image.verify": "false",
    },
    { DSTACK_AGENT_ADDRESS: agent.address },
  );
  assert.match(await run(cli.env, "x.json"), /never handed out while core.image.verify = false is in force/);
  assert.ok(!(await readdir(harness.folder)).includes("x.json"));
});

test(
  "an operator's share stays closed unless quote, measurement, platform and key of the restoring KMS all hold",
  { timeout: 600_000 },
  async () => {
    const fresh = await freshKms();
    await captured(() => begin(fresh));
    const stays = async (text: RegExp, change: Partial<KmsShareOpenOptions>): Promise<void> => {
      assert.match(await refusal(() => open("ana", fresh, change)), text);
      assert.ok(
        !(await readdir(harness.folder)).some(
          (name) => name.endsWith(".ana") && name.startsWith(`session-${count - 1}`),
        ),
      );
    };
    await stays(/^2: .*--mr-aggregated is missing/, { mrAggregated: [] });
    await stays(/^2: .*expected 64 hex digits/, { mrAggregated: ["ab"] });
    await stays(/^3: [^]*kms-measurement: mrAggregated is [0-9a-f]{64}; allowed: (00)+[^]*your share was not opened/, {
      mrAggregated: ["00".repeat(32)],
    });
    await writeFile(at("other-root.pem"), mockPki(parseSeed("5e".repeat(32))).rootPem);
    await stays(/^3: [^]*fail [^]*your share was not opened/, { root: at("other-root.pem") });
    const session = decodeSession(new Uint8Array(await readFile(fresh.session)));
    const stolen = { ...session, publicKey: operatorKeyFromPem(generateOperatorKey().pem).publicKey };
    await writeFile(at("stolen.json"), encodeSession(stolen));
    await stays(/^3: [^]*fail +report-data/, { session: at("stolen.json") });
    await stays(/^3: [^]*fail +domain: the keys would be installed for 127\.0\.0\.1, not for kms\.example\.com/, {
      domain: "kms.example.com",
    });
    await writeFile(at("other-domain.json"), encodeSession({ ...session, domain: "kms.example.com" }));
    await stays(/^3: [^]*fail +report-data/, { session: at("other-domain.json"), domain: "kms.example.com" });
    await writeFile(at("no-quote.json"), encodeSession({ ...session, attestation: new Uint8Array([0, 1, 2]) }));
    await stays(/^3: [^]*fail +evidence/, { session: at("no-quote.json") });
    await writeFile(at("other-backup.json"), encodeSession({ ...session, backup: "00".repeat(32) }));
    await stays(/^3: the session is for another backup/, { session: at("other-backup.json") });
    await stays(/^3: the backup is signed by another KMS/, { rootCa: at("root.pem") });
    await captured(() => kmsKeygen(cli, { out: at("mallory.key"), output: "text" }));
    await stays(/^3: this key is none of the operators' keys/, { key: at("mallory.key") });
    await fresh.abandon();
  },
);

test(
  "a restoring KMS takes no backup that was changed, and no share for another backup, session or place",
  { timeout: 600_000 },
  async () => {
    const fresh = await freshKms();
    assert.match(await refusal(() => submit("ana", fresh, at("root-ca.crt"))), /^3: .*no restore has begun/);
    const text = await readFile(at("backup.json"), "utf8");
    await writeFile(at("tampered.json"), text.replace('"threshold": 2', '"threshold": 3'));
    assert.match(await refusal(() => begin(fresh, at("tampered.json"), at("s0.json"))), /^3: this is no good backup/);
    const direct = await fetch(`${fresh.url}/restore?domain=127.0.0.1`, {
      method: "POST",
      body: await readFile(at("tampered.json")),
    });
    assert.deepEqual([direct.status, ((await direct.json()) as { code: string }).code], [400, "backup-forged"]);
    assert.equal((await fetch(`${fresh.url}/restore?domain=bad_name`, { method: "POST", body: text })).status, 400);
    assert.match(
      await refusal(() =>
        kmsRestore(cli, at("backup.json"), { url: fresh.url, domain: "-", session: at("s1.json"), output: "text" }),
      ),
      /^3: .*invalid DNS label/,
    );

    await captured(() => begin(fresh));
    await captured(() => open("ana", fresh));
    const backup = decodeBackup(new Uint8Array(await readFile(at("backup.json"))));
    const session = decodeSession(new Uint8Array(await readFile(fresh.session)));
    const bob = operatorKeyFromPem(await readFile(at("bob.key"), "utf8"));
    const ana = operatorKeyFromPem(await readFile(at("ana.key"), "utf8"));
    const { share } = openOwnShare(backup, bob);
    for (const [change, refused] of [
      [resealShare({ ...session, backup: "11".repeat(32) }, 1, share, bob), /^3: .*belongs to another backup/],
      [
        resealShare({ ...session, publicKey: operatorKeyFromPem(generateOperatorKey().pem).publicKey }, 1, share, bob),
        /^3: .*sealed to another session/,
      ],
      [resealShare(session, 0, share, ana), /^3: .*not the one that the backup gives operator 1/],
      [resealShare(session, 1, share, ana), /^3: .*by somebody else/],
      [{ ...resealShare(session, 1, share, bob), operator: 2 }, /^3: .*does not open/],
    ] as const) {
      await writeFile(at("share.json"), encodeShare(change));
      assert.match(await refusal(() => submit("", fresh, at("share.json"))), refused);
    }
    await fresh.abandon();

    // The same KMS started anew, as after a crash: what was sealed to the session before is of no use to anybody.
    const again = await freshKms();
    await captured(() => begin(again));
    assert.match(await refusal(() => submit("ana", again, `${fresh.session}.ana`)), /^3: .*sealed to another session/);
    assert.deepEqual(await keysIn(again.folder), []);
    await again.abandon();
  },
);

test(
  "roots of somebody's choice come in by no backup: its operators must be those of the configuration, and hand the shares in themselves",
  { timeout: 600_000 },
  async () => {
    const fresh = await freshKms();
    const make = async (name: string, publicKeys: readonly Uint8Array[], threshold: number): Promise<string> => {
      const roots = { rootCa: generateP256(), tempCa: generateP256(), rootK256: new Uint8Array(32).fill(3) };
      await writeFile(at(name), await makeBackup(roots, { threshold, publicKeys }, Date.now()));
      return at(name);
    };
    const keys = await Promise.all(
      OPERATORS.map(async (name) => operatorKeyFromPem(await readFile(at(`${name}.key`), "utf8"))),
    );
    const mine = [0, 1].map(() => operatorKeyFromPem(generateOperatorKey().pem).publicKey);
    const strangers = await make("evil-1.json", mine, 2);
    assert.match(
      await refusal(() => begin(fresh, strangers, at("x1"))),
      /^3: .*names an operator that core.backup.operators does not/,
    );
    const mixed = await make("evil-2.json", [keys[0]!.publicKey, mine[0]!], 2);
    assert.match(
      await refusal(() => begin(fresh, mixed, at("x2"))),
      /^3: .*names an operator that core.backup.operators does not/,
    );
    await fresh.abandon();
    const strict = await freshKms({ "core.backup.threshold": "3" });
    assert.match(await refusal(() => begin(strict)), /^3: .*opens with 2 shares, core.backup.threshold asks for 3/);
    await strict.abandon();
    const unnamed = await freshKms({ "core.backup.operators": "[]", "core.backup.threshold": "2" }).catch(
      () => undefined,
    );
    assert.equal(unnamed, undefined, "a threshold without operators is no configuration");
  },
);

test(
  "nothing is restored outside a TEE, where the auth server says no, or beside keys",
  { timeout: 600_000 },
  async () => {
    const outside = await freshKms({ "core.attest_rpc_cert": "false", "core.enforce_self_authorization": "false" });
    assert.match(await refusal(() => begin(outside)), /^3: .*restore runs inside an attested KMS alone/);
    await outside.abandon();

    const denied = await freshKms();
    auth.kms.delete(agent.mrAggregated);
    assert.match(await refusal(() => begin(denied)), /^3: .*KMS is not allowed to restore: boot denied/);
    auth.kms.add(agent.mrAggregated);
    await mkdir(denied.folder, { recursive: true });
    await writeFile(join(denied.folder, "root-k256.key"), "a key of somebody");
    assert.match(await refusal(() => begin(denied)), /^3: .*already been bootstrapped/);
    await denied.abandon();
  },
);

test("a share stays shut for a KMS on an outdated platform, unless its operator takes that status", async () => {
  const outdated = await startMockPccs({
    pki: harness.pki,
    host: "127.0.0.1",
    port: 0,
    log: createLogger({ name: "t", stream: { write: () => undefined } }),
    clock: Date,
    edition: () => ({ evaluation: 20, microcode: 3 }),
  });
  const fresh = await freshKms();
  try {
    await captured(() => begin(fresh));
    const elsewhere = createCli({ XDG_CACHE_HOME: at("cache-outdated"), XDG_STATE_HOME: at("state") });
    const tried = async (acceptTcb: readonly string[], out: string): Promise<{ code: number; text: string }> =>
      captured(() =>
        kmsShareOpen(elsewhere, at("backup.json"), {
          key: at("ana.key"),
          session: fresh.session,
          rootCa: at("root-ca.crt"),
          domain: "127.0.0.1",
          mrAggregated: [agent.mrAggregated],
          acceptTcb,
          root: at("root.pem"),
          pccs: [`http://${outdated.address}`],
          out,
          output: "text",
        }),
      );
    const out = at("outdated.share");
    const refused = await tried([], out);
    assert.equal(refused.code, 3);
    assert.match(
      refused.text,
      /fail +tcb: the platform is OutOfDate \(MOCK-SA-00001\); accepted: UpToDate; UpToDate .* needs TDX component 2 at 3 \(has 0\)/,
    );
    assert.match(refused.text, /your share was not opened/);
    await assert.rejects(stat(out), { code: "ENOENT" });
    assert.equal((await tried(["SWHardeningNeeded"], out)).code, 3);
    await assert.rejects(stat(out), { code: "ENOENT" });
    const taken = await tried(["OutOfDate"], out);
    assert.equal(taken.code, 0, taken.text);
    assert.ok((await stat(out)).size > 0);
  } finally {
    await fresh.abandon();
    await outdated.close();
  }
});

test("a secret key is its owner's alone and never replaced", async () => {
  assert.equal((await stat(at("ana.key"))).mode & 0o777, 0o600);
  assert.match(await refusal(() => kmsKeygen(cli, { out: at("ana.key"), output: "text" })), /^1: .*never replaced/);
});
