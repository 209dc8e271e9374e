import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { buildAppCompose, type AppCompose, type AppComposeOptions } from "@dstack/compose";
import { forecastDisk } from "../src/apps/plan/data-disk.ts";
import { machineChanges, planMachine, takenPort, type Machine } from "../src/apps/plan/machine.ts";
import { diffManifests } from "../src/apps/plan/manifest-diff.ts";
import { shellWord } from "../src/terminal/shell-word.ts";
import { diffLines, diffText } from "../src/apps/plan/text-diff.ts";

const manifest = (over: Partial<AppComposeOptions> = {}) =>
  buildAppCompose({ name: "web", dockerComposeFile: "services:\n  a:\n    image: x\n", storageFs: "ext4", ...over });
const compose = (over: Partial<AppComposeOptions> = {}): AppCompose => manifest(over).compose;

describe("the data disk", () => {
  const forecast = (
    wanted: Partial<AppComposeOptions>,
    present: Partial<AppComposeOptions> | undefined,
    { isSameVersion = false, isSameImage = true } = {},
  ) =>
    forecastDisk({
      wanted: compose(wanted),
      present: present === undefined ? undefined : compose(present),
      isSameVersion,
      isSameImage,
    });

  test("is made at first boot", () => {
    for (const keyProvider of ["kms", "local", "tpm", "none"] as const)
      assert.equal(forecast({ keyProvider }, undefined).opens, "new");
  });

  test("opens after any update where the KMS has its key, unless the id changes that the key comes of", () => {
    assert.equal(forecast({}, {}, { isSameImage: false }).opens, "yes");
    assert.match(forecast({ noInstanceId: true }, {}).reason, /no_instance_id changes/);
    assert.equal(forecast({ noInstanceId: true }, { noInstanceId: true }).opens, "yes");
  });

  test("has a key that all instances share where there are no instance ids", () => {
    assert.equal(forecast({ noInstanceId: true }, undefined).isKeyShared, true);
    assert.equal(forecast({}, undefined).isKeyShared, false);
    assert.equal(forecast({ noInstanceId: true, keyProvider: "none" }, undefined).isKeyShared, false);
  });

  test("opens for the very same measurements alone where a local key provider has its key", () => {
    const local = { keyProvider: "local" } as const;
    assert.equal(forecast(local, local, { isSameVersion: true }).opens, "yes");
    assert.equal(forecast(local, local).opens, "no");
    assert.equal(forecast(local, local, { isSameVersion: true, isSameImage: false }).opens, "no");
  });

  test("opens with the same firmware and kernel where the TPM has its key", () => {
    const tpm = { keyProvider: "tpm" } as const;
    assert.equal(forecast(tpm, tpm).opens, "yes");
    assert.equal(forecast(tpm, tpm, { isSameImage: false }).opens, "no");
  });

  test("never opens again without a key provider, under another one, or as another file system", () => {
    assert.equal(forecast({ keyProvider: "none" }, { keyProvider: "none" }, { isSameVersion: true }).opens, "no");
    assert.match(forecast({ keyProvider: "tpm" }, {}).reason, /came from key provider kms/);
    assert.match(forecast({ storageFs: "zfs" }, {}).reason, /holds ext4/);
    assert.match(forecast({ keyProviderId: "bb" }, { keyProviderId: "aa" }).reason, /pins another/);
  });
});

describe("the machine", () => {
  const nothing = {
    image: undefined,
    vcpu: undefined,
    memoryMib: undefined,
    diskGib: undefined,
    ports: undefined,
    dropPorts: false,
  };
  const present: Machine = { image: "img", vcpu: 4, memoryMib: 4096, diskGib: 20, ports: [] };

  test("of a new app has the defaults for what is not given", () => {
    assert.deepEqual(planMachine({ ...nothing, vcpu: 1 }, undefined), {
      wanted: { image: "dstack-sim-0.6.0", vcpu: 1, memoryMib: 2048, diskGib: 10, ports: [] },
      present: undefined,
      kept: [],
    });
  });

  test("is changed on a running VM where only ports change, and needs a stop for its size", () => {
    assert.equal(machineChanges(present, present), undefined);
    const port = { protocol: "tcp", hostAddress: "", hostPort: 1, vmPort: 2 } as const;
    assert.equal(machineChanges({ ...present, ports: [port] }, present)?.needsStop, false);
    assert.deepEqual(machineChanges({ ...present, diskGib: 30, image: "new" }, present), {
      fields: { diskSize: 30, image: "new" },
      needsStop: true,
    });
    // A disk that has grown stays so.
    assert.equal(machineChanges(present, { ...present, diskGib: 30 }), undefined);
  });

  test("keeps a mapping beside one of the same port that is given at another address, and replaces it at its own", () => {
    const at = (hostAddress: string, vmPort = 80) =>
      ({ protocol: "tcp", hostAddress, hostPort: 8080, vmPort }) as const;
    const wanted = (port: ReturnType<typeof at>) =>
      planMachine({ ...nothing, ports: [port] }, { ...present, ports: [at("127.0.0.1")] }).wanted.ports;
    assert.deepEqual(wanted(at("10.0.0.1")), [at("127.0.0.1"), at("10.0.0.1")]);
    assert.deepEqual(wanted(at("")), [at("127.0.0.1")]);
    assert.deepEqual(wanted(at("", 81)), [at("", 81)]);
    assert.deepEqual(wanted(at("0.0.0.0")), [at("0.0.0.0")]);
  });

  test("takes a host port once per protocol and address", () => {
    const at = (hostAddress: string, protocol: "tcp" | "udp" = "tcp") => ({
      protocol,
      hostAddress,
      hostPort: 8080,
      vmPort: 80,
    });
    const other = { name: "other", configuration: { ...present, ports: [at("127.0.0.1")] } };
    const taken = (port: ReturnType<typeof at>): string | undefined => takenPort([port], [other] as never)?.by;
    assert.equal(taken(at("127.0.0.1")), "other");
    assert.equal(taken(at("")), "other");
    assert.equal(taken(at("0.0.0.0")), "other");
    assert.equal(taken(at("10.0.0.1")), undefined);
    assert.equal(taken(at("127.0.0.1", "udp")), undefined);
  });
});

describe("a difference", () => {
  const text = (before: string, after: string): string => diffText(diffLines(before, after), 1).join("|");

  test("shows changed lines with their neighbours", () => {
    assert.equal(text("a\nb\nc\nd\ne", "a\nb\nX\nd\ne"), "  b|- c|+ X|  d|...");
    assert.equal(text("a\nb", "a\nb"), "");
    assert.equal(text("", "a"), "- |+ a");
    assert.equal(text("1\n2\n3\n4\n5\n6\n7", "0\n1\n2\n3\n4\n5\n6"), "+ 0|  1|...|  6|- 7");
  });

  test("keeps what both have in order, and gives both texts back", () => {
    const [before, after] = ["a\nb\nc\na\nb", "c\nb\na\nb\na\nc"];
    const lines = diffLines(before, after);
    const side = (sign: "+" | "-"): string =>
      lines
        .filter((line) => line.sign !== sign)
        .map((line) => line.text)
        .join("\n");
    assert.deepEqual([side("+"), side("-")], [before, after]);
    assert.equal(lines.filter(({ sign }) => sign === " ").length, 3);
  });

  test("of large texts is bounded", () => {
    const large = (word: string): string => Array.from({ length: 20_000 }, (_, n) => `${word}${n}`).join("\n");
    assert.equal(diffLines(large("a"), large("b")).length, 40_000);
  });

  test("of manifests names the first byte and each member, texts line by line", () => {
    const before = manifest();
    const after = manifest({ dockerComposeFile: "services:\n  a:\n    image: y\n", publicLogs: true });
    const diff = diffManifests(before, after);
    assert.equal(diff.firstByte, Buffer.from(before.bytes).indexOf("image: x") + 7);
    assert.deepEqual(diff.lines, [
      "  docker_compose_file:",
      "      services:",
      "        a:",
      "    -     image: x",
      "    +     image: y",
      "      ",
      "- public_logs: false",
      "+ public_logs: true",
    ]);
    assert.equal(diffManifests(before, before).firstByte, undefined);
  });
});

test("a command that is copied names its app whatever the name holds", () => {
  assert.equal(shellWord("web-1.a"), "web-1.a");
  assert.equal(shellWord("my app"), "'my app'");
  assert.equal(shellWord("$(x)"), "'$(x)'");
  assert.equal(shellWord("a'b"), `'a'\\''b'`);
});
