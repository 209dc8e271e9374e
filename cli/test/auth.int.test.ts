import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, createPublicKey, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { buildAppCompose } from "@dstack/compose";
import { setTimeout as sleep } from "node:timers/promises";
import { accountKeys, accounts, Anvil, anvilPath } from "../../libs/governance/test/anvil.ts";
import { OLD_NAMES } from "../src/auth/old-names.ts";
import { runCli } from "../src/main.ts";

const IMAGE = `0x${"22".repeat(32)}`;
const DEVICE = `0x${"66".repeat(32)}`;
const MR = `0x${"11".repeat(32)}`;
const APP = `0x${"a1".repeat(20)}`;
const folder = await mkdtemp(join(tmpdir(), "dstack-auth-"));
after(() => rm(folder, { recursive: true }));
const manifest = join(folder, "app-compose.json");
const { bytes } = buildAppCompose({
  name: "x",
  dockerComposeFile: "services:\n  a:\n    image: busybox@sha256:" + "0".repeat(64) + "\n",
});
await writeFile(manifest, bytes);
const HASH = `0x${createHash("sha256").update(bytes).digest("hex")}`;
const requestFile = join(folder, "request.json");

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** One command line in this process, with what it prints. One at a time. */
async function dstack(args: readonly string[], env: Record<string, string> = {}): Promise<Run> {
  const written = { out: "", err: "" };
  const restore = [
    capture(process.stdout, (text) => (written.out += text)),
    capture(process.stderr, (text) => (written.err += text)),
  ];
  try {
    const code = await runCli(["auth", ...args], {
      PATH: process.env["PATH"],
      HOME: folder,
      XDG_STATE_HOME: join(folder, "state"),
      ...env,
    });
    return { code, ...written };
  } finally {
    for (const undo of restore) undo();
    process.exitCode = 0;
  }
}

/** Takes the text that is written; the test runner's own messages are bytes and go through. */
function capture(stream: NodeJS.WriteStream, take: (text: string) => void): () => void {
  const write = stream.write.bind(stream);
  stream.write = ((chunk: string | Uint8Array) =>
    typeof chunk === "string" ? (take(chunk), true) : write(chunk)) as typeof stream.write;
  return () => {
    stream.write = write;
  };
}

const done = async (args: readonly string[], env: Record<string, string> = {}): Promise<string> => {
  const { code, out, err } = await dstack(args, env);
  assert.equal(code, 0, `dstack auth ${args.join(" ")}: ${err}${out}`);
  return out;
};

const writeRequest = (appId: string, more: object = {}): Promise<void> =>
  writeFile(
    requestFile,
    JSON.stringify({
      mrAggregated: MR.slice(2),
      osImageHash: IMAGE.slice(2),
      appId: appId.slice(2),
      composeHash: HASH.slice(2),
      instanceId: "",
      deviceId: DEVICE.slice(2),
      tcbStatus: "UpToDate",
      ...more,
    }),
  );

describe("a policy in a file", () => {
  test("explain names one rule after the other, and the command that meets it", async () => {
    await writeRequest(APP);
    const commands: string[] = [];
    for (;;) {
      const { code, out } = await dstack(["explain", requestFile, "-o", "json"]);
      const { allowed, command } = JSON.parse(out) as { allowed: boolean; command: string };
      assert.equal(code, allowed ? 0 : 3);
      if (allowed) break;
      commands.push(command);
      const text = await done(command.split(" ").slice(2));
      assert.match(text, /^\+ /m);
    }
    assert.deepEqual(commands, [
      `dstack auth allow os-image ${IMAGE}`,
      `dstack auth allow app ${APP}`,
      `dstack auth allow compose ${HASH} --app ${APP}`,
      `dstack auth allow device ${DEVICE} --app ${APP}`,
    ]);
  });

  test("a platform that is denied gets advice by its status, and a command that takes it", async () => {
    const config = join(folder, "tcb.json");
    const at = ["--config", config];
    for (const args of [
      ["os-image", IMAGE],
      ["compose", HASH, "--app", APP],
      ["device", DEVICE, "--app", APP],
    ])
      await done(["allow", ...args, ...at]);
    await writeRequest(APP, { advisoryIds: ["INTEL-SA-00001", "INTEL-SA-00002"] });
    const advised = await dstack(["explain", requestFile, ...at]);
    assert.equal(advised.code, 3);
    assert.match(
      advised.out,
      /advisory ID is not allowed[\s\S]*next +the platform is up to date: there is nothing to install/,
    );
    const allow = `allow advisory INTEL-SA-00001,INTEL-SA-00002 --config ${config}`;
    assert.ok(advised.out.includes(`to allow    dstack auth ${allow}`), advised.out);
    assert.match(await done(allow.split(" ")), /^\+ allowedAdvisoryIds INTEL-SA-00001$/m);
    await done(["explain", requestFile, ...at]);
    assert.match(await done(["show", ...at]), /^advisories +INTEL-SA-00001\n +INTEL-SA-00002$/m);
    assert.match(await done(["deny", "advisory", "INTEL-SA-00002", ...at]), /^- allowedAdvisoryIds INTEL-SA-00002$/m);

    await writeRequest(APP, { tcbStatus: "OutOfDate" });
    const outdated = await dstack(["explain", requestFile, ...at]);
    assert.match(outdated.out, /next +update the platform; `dstack tcb status` says what is short/);
    assert.match(outdated.out, /to allow +dstack auth allow status OutOfDate --config/);
    await done(["allow", "status", "OutOfDate", ...at]);
    assert.equal((await dstack(["explain", requestFile, ...at])).code, 0);
    await writeRequest(APP, { tcbStatus: "UpToDate" });
    await done(["explain", requestFile, ...at]);
    await writeRequest(APP, { tcbStatus: "Revoked" });
    const revoked = await dstack(["explain", requestFile, ...at]);
    assert.match(revoked.out, /next +Intel revoked this platform's TCB/);
    assert.doesNotMatch(revoked.out, /to allow/);

    for (const [args, expected] of [
      [["allow", "advisory"], /expected an id like/],
      [["allow", "advisory", "a b"], /expected an id like/],
      [["allow", "advisory", "INTEL-SA-837"], /expected an id like INTEL-SA-00837/],
      [["allow", "status", "Revoked"], /expected UpToDate, /],
      [["deny", "status", "uptodate"], /expected UpToDate, /],
    ] as const)
      assert.match((await dstack([...args, ...at])).err, expected);
  });

  test("a file written for dstack-auth is imported, and its empty lists are told to allow nothing here", async () => {
    const [foreign, config] = [join(folder, "allowlist.json"), join(folder, "imported.json")];
    await writeFile(config, JSON.stringify({ osImages: [`0x${"99".repeat(32)}`] }));
    await writeFile(
      foreign,
      JSON.stringify({
        osImages: [],
        gatewayAppId: "gw",
        kms: { mrAggregated: [MR], devices: [] },
        foo: 1,
        apps: {
          [APP]: { composeHashes: [HASH], devices: [] },
          [`0x${"b2".repeat(20)}`]: { devices: [], allowAnyDevice: true },
        },
      }),
    );
    const { code, err } = await dstack(["import", foreign, "--config", config]);
    assert.equal(code, 0);
    assert.match(err, /osImages is empty: no image may boot here, any for dstack-auth; dstack auth allow os-image/);
    assert.match(err, /^foo means nothing to a policy here and is not taken over$/m);
    assert.match(err, /kms\.devices is empty: no device may run a KMS here, any for dstack-auth/);
    assert.match(err, new RegExp(`apps\\.${APP}\\.devices is empty: .*dstack auth allow any-device --app ${APP}`));
    assert.doesNotMatch(err, /b2b2/, "a list beside allowAnyDevice counts for nothing in either");
    const written = JSON.parse(await readFile(config, "utf8")) as Record<string, unknown>;
    assert.deepEqual(written["osImages"], [`0x${"99".repeat(32)}`], "nothing is taken away");
    assert.equal(written["gatewayAppId"], "gw");
    assert.deepEqual((written["apps"] as Record<string, { devices: string[] }>)[APP]?.devices, []);
    await writeRequest(APP);
    const { out } = await dstack(["explain", requestFile, "--config", config]);
    assert.match(out, /OS image is not allowed/);
    assert.match(await done(["import", foreign, "--config", config]), /nothing to change/);
    await writeFile(foreign, JSON.stringify({ kms: { allowAnyDevice: true } }));
    assert.match(
      (await dstack(["import", foreign, "--config", config])).err,
      /kms\.allowAnyDevice is not taken over: any device may then run a KMS/,
    );
  });

  test("a policy file in a folder that is not there is a mistyped path, and a new file is said to be one", async () => {
    const image = `0x${"98".repeat(32)}`;
    const { code, err } = await dstack(["allow", "os-image", image, "--config", join(folder, "nope", "x.json")]);
    assert.equal(code, 4);
    assert.match(err, /there is no folder .*nope/);
    const made = join(folder, "made.json");
    assert.match(await done(["allow", "os-image", image, "--config", made]), /made\.json, a new file; in force/);
    assert.doesNotMatch(await done(["allow", "advisory", "intel-sa-00837", "--config", made]), /new file/);
    assert.deepEqual(JSON.parse(await readFile(made, "utf8")), {
      osImages: [image],
      allowedAdvisoryIds: ["INTEL-SA-00837"],
    });
  });

  test("hashes are taken of the files that are given", async () => {
    assert.match(
      await done(["deny", "compose", manifest, "--app", APP]),
      new RegExp(`^- apps\\.${APP}\\.composeHashes ${HASH}`, "m"),
    );
    assert.match(
      await done(["allow", "compose", manifest, "--app", APP]),
      new RegExp(`^\\+ apps\\.${APP}\\.composeHashes ${HASH}`, "m"),
    );
    await writeFile(join(folder, "sha256sum.txt"), "sums");
    const image = `0x${createHash("sha256").update("sums").digest("hex")}`;
    assert.match(await done(["allow", "os-image", folder]), new RegExp(`^\\+ osImages ${image}`, "m"));
    assert.match(await done(["allow", "kms", requestFile]), new RegExp(`^\\+ kms\\.mrAggregated ${MR}`, "m"));
    assert.match(
      await done(["allow", "device", requestFile, "--kms"]),
      new RegExp(`^\\+ kms\\.devices ${DEVICE}`, "m"),
    );
    assert.match(await done(["allow", "compose", manifest, "--app", APP]), /nothing to change/);
  });

  test("a diff says what differs, and can be made so", async () => {
    const wanted = join(folder, "wanted.json");
    await writeFile(
      wanted,
      JSON.stringify({
        gatewayAppId: "gw",
        osImages: [IMAGE],
        kms: { mrAggregated: [MR], devices: [DEVICE] },
        apps: { [APP]: { composeHashes: [], devices: [DEVICE] } },
      }),
    );
    const { code, out } = await dstack(["diff", wanted]);
    assert.equal(code, 3);
    assert.match(out, /^\+ gatewayAppId gw$/m);
    assert.match(out, new RegExp(`^- apps.${APP}.composeHashes ${HASH}$`, "m"));
    await done(["diff", wanted, "--apply"]);
    assert.equal((await dstack(["diff", wanted])).code, 0);
    assert.equal((await dstack(["explain", requestFile])).code, 3);
  });

  test("history tells each change, and says when somebody changed the file by hand", async () => {
    const lines = await done(["history"]);
    assert.match(lines, /\+ osImages/);
    const own = /\(key (\w+)\)/.exec(lines)?.[1] ?? assert.fail("no key is shown");
    await done(["history", "--signed-by", own]);
    const foreign = await dstack(["history", "--signed-by", "0".repeat(32)]);
    assert.equal(foreign.code, 3);
    assert.match(foreign.err, /entry 1 is signed by key \w+, which is none/);
    const policy = join(folder, "state/dstack/auth/auth-config.json");
    await writeFile(policy, `${await readFile(policy, "utf8")} `);
    const { code, err } = await dstack(["history"]);
    assert.equal(code, 3);
    assert.match(err, /changed by hand/);
  });

  test("a history with an entry that follows another one, or is signed by another kind of key, breaks, and stops changes", async () => {
    const config = join(folder, "chained.json");
    const at = ["--config", config];
    const hashes = ["31", "32"].map((byte) => `0x${byte.repeat(32)}`);
    for (const hash of hashes) await done(["allow", "os-image", hash, ...at]);
    const path = `${config}.history.jsonl`;
    const good = await readFile(path, "utf8");
    const [first = "", second = ""] = good.split("\n");
    /** The entry, changed and signed anew by whoever holds `key`. */
    const signed = (line: string, key: KeyObject, change: object, hash: string | null): string => {
      const { signature: _, ...entry } = JSON.parse(line) as Record<string, unknown>;
      const publicKey = createPublicKey(key).export({ type: "spki", format: "der" }).toString("base64");
      const unsigned = { ...entry, ...change, key: publicKey };
      const signature = sign(hash, Buffer.from(JSON.stringify(unsigned)), key).toString("base64");
      return JSON.stringify({ ...unsigned, signature });
    };
    const own = generateKeyPairSync("ed25519").privateKey;
    const curve = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
    for (const [line, says] of [
      [signed(second, own, { previous: "0".repeat(64) }, null), /line 2 does not follow the line before/],
      [signed(second, curve, {}, "sha256"), /line 2 has a bad signature/],
      [signed(second, curve, {}, null), /line 2 has a bad signature/],
    ] as const) {
      await writeFile(path, `${first}\n${line}\n`);
      const { code, out, err } = await dstack(["history", ...at]);
      assert.equal(code, 3);
      assert.match(out + err, says);
      const before = await readFile(config, "utf8");
      assert.notEqual((await dstack(["allow", "os-image", `0x${"33".repeat(32)}`, ...at])).code, 0);
      assert.equal(await readFile(config, "utf8"), before);
    }
    await writeFile(path, good);
    assert.equal((await dstack(["history", ...at])).code, 0);
  });

  test("bad arguments are named and change nothing", async () => {
    for (const [args, text] of [
      [["allow", "compose", "44".repeat(31), "--app", APP], /neither 32 bytes of hex nor a file/],
      [["allow", "compose", `0x${"44".repeat(33)}`, "--app", APP], /expected 32 bytes of hex, got 33/],
      [["allow", "compose", "0x", "--app", APP], /neither 32 bytes/],
      [["allow", "compose", manifest], /--app is missing/],
      [["allow", "device", DEVICE], /--app <app id> or --kms/],
      [["allow", "sword", "1"], /expected app, compose/],
      [["explain", manifest], /no boot request/],
      [["show", "--config", "x", "--contract", APP], /in one place/],
      [["deploy", "kms"], /no chain is named/],
    ] as const) {
      const { code, err } = await dstack(args);
      assert.notEqual(code, 0, args.join(" "));
      assert.match(err, text);
    }
  });

  test("names of the reference's tasks and scripts print the command that does their work", async () => {
    assert.match(await done(["kms:add-image"]), /dstack auth allow os-image/);
    assert.match(await done(["script/Manage.s.sol:AddComposeHash"]), /dstack auth allow compose/);
    assert.equal(new Set(OLD_NAMES.map(({ old }) => old)).size, OLD_NAMES.length);
    const page = await readFile(join(import.meta.dirname, "../../docs/governance.md"), "utf8");
    const rows = [...page.slice(page.indexOf("## Old names")).matchAll(/^\| `(.+)` \| `(.+)` \|$/gm)].map(
      ([, old, ours]) => ({ old, ours: ours?.replaceAll("\\|", "|") }),
    );
    assert.deepEqual(rows, OLD_NAMES, "the table of docs/governance.md");
  });
});

describe("a policy in contracts", { skip: anvilPath() === undefined ? "no anvil for this machine" : false }, () => {
  let anvil: Anvil;
  let env: Record<string, string>;
  let app: string;

  before(async () => {
    anvil = await Anvil.start();
    env = {
      ETH_RPC_URL: anvil.url,
      ETH_CHAIN_ID: "1337",
      ETH_FINALITY_CONFIRMATIONS: "0",
      PRIVATE_KEY: accountKeys[0],
    };
  });
  after(() => anvil.stop());

  test("deploy, then explain names one rule after the other, and the command that meets it", async () => {
    const kms =
      /DstackKms proxy deployed to: (0x\w{40})/.exec(await done(["deploy", "kms"], env))?.[1] ??
      assert.fail("no address");
    env = { ...env, KMS_CONTRACT_ADDR: kms };
    app = /App ID: (0x\w{40})/.exec(await done(["deploy", "app"], env))?.[1]?.toLowerCase() ?? assert.fail("no app id");
    await writeRequest(app);
    const commands: string[] = [];
    for (;;) {
      const { code, out } = await dstack(["explain", requestFile, "-o", "json"], env);
      const { allowed, command } = JSON.parse(out) as { allowed: boolean; command: string };
      assert.equal(code, allowed ? 0 : 3, out);
      if (allowed) break;
      commands.push(command.replace(/ --contract.*/, ""));
      await done(command.split(" ").slice(2), env);
    }
    assert.deepEqual(commands, [
      `dstack auth allow os-image ${IMAGE}`,
      `dstack auth allow compose ${HASH} --app ${app}`,
      `dstack auth allow device ${DEVICE} --app ${app}`,
    ]);
    assert.match(await done(["show"], env), new RegExp(HASH));
    assert.match(
      await done(["history"], env),
      new RegExp(`block \\d+ +${accounts[0].address} +app \\w+: ComposeHashAdded ${HASH}`),
    );
  });

  test("auth-eth on these contracts behaves as every webhook should", async () => {
    const main = join(import.meta.dirname, "../../services/auth-eth/src/main.ts");
    const { PRIVATE_KEY: _, ...settings } = env;
    const server = spawn(process.execPath, [main], {
      env: { PATH: process.env["PATH"], PORT: "0", ANSWER_KEY_PATH: join(folder, "answer-key.pem"), ...settings },
      stdio: ["ignore", "ignore", "pipe"],
    });
    try {
      const address = await new Promise<string>((resolve, reject) => {
        let said = "";
        server.stderr.setEncoding("utf8").on("data", (text: string) => {
          const found = /"address":"([^"]+)"/.exec((said += text));
          if (found?.[1] !== undefined) resolve(found[1]);
        });
        server.once("exit", () => reject(new Error(said)));
      });
      const { code, out } = await dstack(["conformance", `http://${address}`, "--allowed", requestFile]);
      assert.equal(code, 0, out);
      assert.doesNotMatch(out, /^(fail|not applicable)/m);
    } finally {
      server.kill("SIGKILL");
    }
  });

  test("a dry run and a Safe's file change nothing", async () => {
    const { PRIVATE_KEY: _, ...keyless } = env;
    const run = await dstack(["deny", "app", app, "--dry-run"], keyless);
    assert.equal(run.code, 0, run.err);
    assert.match(run.out, /would revoke app .* gas/);
    assert.match(run.out, /nothing was sent/);
    const bad = await dstack(["deny", "app", app, "--dry-run", "--sender", accounts[1].address], keyless);
    assert.equal(bad.code, 3);
    assert.match(bad.err, /the dry run failed: revoke app/);
    const file = join(folder, "safe.json");
    await done(
      ["deny", "compose", manifest, "--app", app, "--safe-file", file, "--safe", accounts[1].address],
      keyless,
    );
    const { chainId, transactions } = JSON.parse(await readFile(file, "utf8")) as {
      chainId: string;
      transactions: { to: string; data: string }[];
    };
    assert.deepEqual(
      [chainId, transactions.length, transactions[0]?.to.toLowerCase(), transactions[0]?.data],
      ["1337", 1, app, `0x67b3f22c${HASH.slice(2)}`],
    );
    assert.equal((await dstack(["explain", requestFile], env)).code, 0);
    const { code, err } = await dstack(["deny", "compose", manifest, "--app", app], keyless);
    assert.equal(code, 2);
    assert.match(err, /nothing can sign/);
  });

  test("an app that is shut out is denied, and let in again", async () => {
    await done(["deny", "app", app], env);
    const { out } = await dstack(["explain", requestFile], env);
    assert.match(out, /denied: App is revoked/);
    await done(["allow", "app", app], env);
    assert.equal((await dstack(["explain", requestFile], env)).code, 0);
  });

  test("an app can ask for patched platforms", async () => {
    await done(["require-tcb", app, "on"], env);
    await writeRequest(app, { tcbStatus: "OutOfDate" });
    assert.match(
      (await dstack(["explain", requestFile], env)).out,
      /denied: TCB status is not up to date[\s\S]*next +update the platform[\s\S]*to allow +dstack auth require-tcb 0x\w+ off --contract/,
    );
    await done(["require-tcb", app, "off"], env);
    assert.equal((await dstack(["explain", requestFile], env)).code, 0);
    assert.equal((await dstack(["require-tcb", app, "perhaps"], env)).code, 2);
    await writeRequest(app);
  });

  test("a decision is read at no older a block than auth-eth takes", async () => {
    const explain = (age: string) => dstack(["explain", requestFile], { ...env, ETH_MAX_BLOCK_AGE: age });
    await sleep(2_100);
    const { code, err } = await explain("1");
    assert.deepEqual([code, /is \d+ s old, at most 1 s/.test(err)], [1, true], err);
    assert.equal((await explain("0")).code, 0);
    assert.equal((await explain("a day")).code, 2);
  });

  test("contracts are upgraded, passed on and fixed", async () => {
    const { err } = await dstack(["upgrade", app], env);
    assert.match(err, /^- code of /m);
    await done(["transfer", app, accounts[1].address], env);
    await done(["accept", app], { ...env, PRIVATE_KEY: accountKeys[1] });
    await done(["disable-upgrades", app], { ...env, PRIVATE_KEY: accountKeys[1] });
    const refused = await dstack(["upgrade", app], { ...env, PRIVATE_KEY: accountKeys[1] });
    assert.equal(refused.code, 1);
    assert.match(refused.err, /Upgrades are permanently disabled/);
  });

  test("the wrong chain and a bad key stop everything, and the key is never shown", async () => {
    const wrong = await dstack(["allow", "os-image", MR], { ...env, ETH_CHAIN_ID: "1" });
    assert.match(wrong.err, /chain 1337, expected 1/);
    const key = accountKeys[0].slice(0, -2);
    const bad = await dstack(["allow", "os-image", MR], { ...env, PRIVATE_KEY: key });
    assert.match(bad.err, /not 32 bytes of hex/);
    assert.doesNotMatch(bad.err, new RegExp(key.slice(10, 30)));
    await writeFile(join(folder, "key"), accountKeys[0], { mode: 0o644 });
    assert.match(
      (await dstack(["allow", "os-image", MR, "--key-file", join(folder, "key")], env)).err,
      /readable by others/,
    );
  });
});
