import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { copyHostShare } from "../src/host/host-share.ts";

describe("copying the host share", () => {
  let folder: string;
  let source: string;
  let destination: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "dstack-share-"));
    source = join(folder, "share");
    destination = join(folder, "copy");
    execFileSync("mkdir", [source]);
    await writeFile(join(source, "app-compose.json"), "{}");
    await writeFile(join(source, ".sys-config.json"), '{"vm_config":""}');
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("copies the known files and nothing else", async () => {
    await writeFile(join(source, "surprise"), "x");
    await writeFile(join(source, ".tee-simulator.json"), "{}");
    await writeFile(join(source, ".encrypted-env"), "secret");
    const share = await copyHostShare(source, destination);
    assert.deepEqual([...share.keys()].toSorted(), [".encrypted-env", ".sys-config.json", "app-compose.json"]);
    assert.equal(await readFile(join(destination, ".encrypted-env"), "utf8"), "secret");
    assert.equal((await stat(join(destination, ".encrypted-env"))).mode & 0o777, 0o600);
    await assert.rejects(stat(join(destination, "surprise")));
  });

  it("never follows a link of the host (audit row 02)", async () => {
    await writeFile(join(folder, "target"), "outside");
    await symlink(join(folder, "target"), join(source, ".user-config"));
    await assert.rejects(copyHostShare(source, destination), {
      code: "host-share-invalid",
      message: /\.user-config is a symbolic link/,
    });
  });

  it("refuses what is not a regular file, without waiting for it", async () => {
    execFileSync("mkfifo", [join(source, ".user-config")]);
    await assert.rejects(copyHostShare(source, destination), /not a regular file/);
  });

  it("refuses a file above its limit, by what is read", async () => {
    await writeFile(join(source, ".sys-config.json"), new Uint8Array(32_769));
    await assert.rejects(
      copyHostShare(source, destination),
      /\.sys-config\.json is too large, max size is 32768 bytes/,
    );
  });

  it("takes a file of exactly the limit and names one that is missing", async () => {
    await writeFile(join(source, ".sys-config.json"), new Uint8Array(32_768));
    await copyHostShare(source, destination);
    await rm(join(source, "app-compose.json"));
    await rm(destination, { recursive: true });
    await assert.rejects(copyHostShare(source, destination), /Source file app-compose\.json does not exist/);
  });
});
