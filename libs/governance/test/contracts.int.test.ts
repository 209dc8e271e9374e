import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { getAddress, zeroAddress, zeroHash, type Address, type Hex } from "viem";
import {
  calls,
  ChainReader,
  contractPolicy,
  endpoint,
  KmsContract,
  readPolicyLog,
  safeTransactionFile,
  sendCall,
  type ContractCall,
  type SentCall,
} from "../src/chain/index.ts";
import { GovernanceError, type BootInfo } from "../src/index.ts";
import { accounts, Anvil, anvilPath } from "./anvil.ts";

const IMAGE: Hex = `0x${"22".repeat(32)}`;
const HASH: Hex = `0x${"44".repeat(32)}`;
const DEVICE: Hex = `0x${"66".repeat(32)}`;
const MR: Hex = `0x${"11".repeat(32)}`;
const [owner, stranger] = accounts;

describe(
  "contracts on a local chain",
  { skip: anvilPath() === undefined ? "no anvil for this machine" : false },
  () => {
    let anvil: Anvil;
    let kms: Address;
    let app: Address;
    let boot: BootInfo;

    before(async () => {
      anvil = await Anvil.start();
      const appCode = await created(calls.createAppCode());
      const kmsCode = await created(calls.createKmsCode());
      kms = await created(calls.createKmsProxy(kmsCode, owner.address, appCode));
      await send(
        calls.deployApp(kms, {
          owner: owner.address,
          disableUpgrades: false,
          requireTcbUpToDate: false,
          allowAnyDevice: false,
          deviceId: zeroHash,
          composeHash: zeroHash,
        }),
      );
      const registered = (await log()).find(({ name }) => name === "AppDeployedViaFactory");
      app = getAddress(String(registered?.args["appId"]));
      boot = {
        mrAggregated: MR,
        osImageHash: IMAGE,
        appId: app,
        composeHash: HASH,
        instanceId: "",
        deviceId: DEVICE,
        tcbStatus: "UpToDate",
        advisoryIds: [],
        mrSystem: "",
        teeVariant: "",
      };
    });

    after(() => anvil.stop());

    const client = () => endpoint(anvil.url, 10_000).client;
    const send = (call: ContractCall, account = owner): Promise<SentCall> =>
      sendCall(call, { client: client(), account, timeoutMs: 20_000 });
    const created = async (call: ContractCall): Promise<Address> =>
      (await send(call)).contractAddress ?? assert.fail("no address");
    const log = async () => readPolicyLog(client(), kms, { fromBlock: 0n, toBlock: await client().getBlockNumber() });
    const reader = (confirmations?: number): KmsContract =>
      new KmsContract(
        kms,
        new ChainReader({
          endpoints: [endpoint(anvil.url, 10_000)],
          quorum: 1,
          chainId: 1337,
          confirmations,
          maxBlockAgeSeconds: 3_600,
          deadlineMs: 10_000,
          clock: Date,
        }),
      );
    const decision = async (kind: "app" | "kms" = "app"): Promise<string> => {
      const { isAllowed, reason } = await reader(0).decide(kind, boot);
      return isAllowed ? "allowed" : reason;
    };

    test("each rule is named until it is met (E18)", async () => {
      assert.equal(await decision(), "OS image is not allowed");
      await send(calls.changeKmsList(kms, "os-image", IMAGE, true));
      assert.equal(await decision(), "Compose hash not allowed");
      await send(calls.changeAppList(app, "compose", HASH, true));
      assert.equal(await decision(), "Device not allowed");
      await send(calls.changeAppList(app, "device", DEVICE, true));
      assert.equal(await decision(), "allowed");
      assert.equal(await decision("kms"), "Aggregated MR not allowed");
      await send(calls.changeKmsList(kms, "kms-measurement", MR, true));
      await send(calls.changeKmsList(kms, "kms-device", DEVICE, true));
      assert.equal(await decision("kms"), "allowed");
      await send(calls.setGateway(kms, "0xgateway"));
      assert.equal((await reader(0).info()).gatewayAppId, "0xgateway");
    });

    test("what is not final does not count yet", async () => {
      await anvil.control.mine({ blocks: 5 });
      assert.equal((await reader().decide("app", boot)).isAllowed, true);
      await send(calls.setAppRevoked(kms, app, true));
      assert.equal((await reader().decide("app", boot)).isAllowed, true);
      assert.equal(await decision(), "App is revoked");
      await anvil.control.mine({ blocks: 5 });
      assert.equal((await reader().decide("app", boot)).reason, "App is revoked");
      await send(calls.setAppRevoked(kms, app, false));
    });

    test("events tell the policy and who made it, also after a change that the chain took back (V1, V2, V4)", async () => {
      const snapshot = await anvil.control.snapshot();
      await send(calls.changeKmsList(kms, "os-image", HASH, true));
      await anvil.control.revert({ id: snapshot });
      await send(calls.changeKmsList(kms, "os-image", MR, true));
      await send(calls.changeKmsList(kms, "os-image", MR, false));
      const events = await log();
      assert.equal(
        events.filter(({ name, args }) => name === "OsImageHashAdded" && args["osImageHash"] === HASH).length,
        0,
      );
      assert.ok(
        events.every(
          ({ actor, name }) =>
            actor === owner.address || name === "Upgraded" || name === "Initialized" || name.startsWith("Ownership"),
        ),
        "an actor is missing",
      );
      const policy = await contractPolicy(client(), kms, events, await client().getBlockNumber());
      assert.deepEqual(policy, {
        gatewayAppId: "0xgateway",
        osImages: [IMAGE],
        kms: { mrAggregated: [MR], devices: [DEVICE] },
        apps: new Map([
          [
            app,
            {
              composeHashes: [HASH],
              devices: [DEVICE],
              allowAnyDevice: false,
              requireTcbUpToDate: false,
              revoked: false,
            },
          ],
        ]),
      });
    });

    test("a call that would fail is not sent, and says why", async () => {
      const balance = await client().getBalance({ address: stranger.address });
      await assert.rejects(
        send(calls.changeKmsList(kms, "os-image", HASH, true), stranger),
        (error) =>
          error instanceof GovernanceError && error.code === "chain-refused" && /allow os-image/.test(error.message),
      );
      assert.equal(await client().getBalance({ address: stranger.address }), balance);
      await assert.rejects(send(calls.registerApp(kms, zeroAddress)), /Invalid app ID/);
    });

    test("ownership passes in two steps, upgrades end for good", async () => {
      const code = await created(calls.createAppCode());
      await send(calls.upgrade(app, code));
      await send(calls.transferOwnership(app, stranger.address));
      await assert.rejects(send(calls.changeAppList(app, "compose", MR, true), stranger));
      await send(calls.acceptOwnership(app), stranger);
      await send(calls.disableUpgrades(app), stranger);
      await assert.rejects(send(calls.upgrade(app, code), stranger), /Upgrades are permanently disabled/);
      await send(calls.setAnyDevice(app, true), stranger);
      await send(calls.setRequireTcb(app, true), stranger);
      boot = { ...boot, tcbStatus: "OutOfDate", deviceId: MR };
      assert.equal(await decision(), "TCB status is not up to date");
    });

    test("a Safe gets calls, never creations", () => {
      const file = JSON.parse(
        safeTransactionFile([calls.registerApp(kms, app), calls.setGateway(kms, "x")], {
          chainId: 1337,
          safe: kms,
          now: 1,
        }),
      ) as { chainId: string; transactions: { to: string; value: string; data: string }[] };
      assert.deepEqual(
        [file.chainId, file.transactions.length, file.transactions[0]?.to, file.transactions[0]?.value],
        ["1337", 2, kms, "0"],
      );
      assert.match(file.transactions[0]?.data ?? "", /^0x17a1d80f/);
      assert.throws(
        () => safeTransactionFile([calls.createKmsCode()], { chainId: 1, safe: undefined, now: 1 }),
        GovernanceError,
      );
    });
  },
);
