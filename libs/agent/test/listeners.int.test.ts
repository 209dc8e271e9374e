import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createAgent, listen } from "../src/index.ts";
import { recordedPorts } from "./fixture.ts";

const get = (socketPath: string, path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    request({ socketPath, path, agent: false }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("end", () => resolve(text));
    })
      .on("error", reject)
      .end();
  });

describe("the agent's listeners", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dstack-listen-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it("lie in any folder, the public one too, for whoever plays a guest without being root", async () => {
    const path = join(folder, "external.sock");
    const listeners = await listen(createAgent(recordedPorts()), { folder, publicListen: { path, mode: 0o600 } });
    try {
      assert.deepEqual([listeners.publicAddress, listeners.publicPort], [path, 0]);
      assert.match(await get(path, "/prpc/Worker.Version"), /"version":"0\.6\.0"/);
      assert.match(await get(join(folder, "dstack.sock"), "/Version"), /"version":"0\.6\.0"/);
    } finally {
      await listeners.close();
    }
  });

  it("are all open or none: a port that is taken leaves no socket behind", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.once("listening", resolve));
    const address = taken.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    try {
      await assert.rejects(
        listen(createAgent(recordedPorts()), { folder, publicListen: { host: "127.0.0.1", port } }),
        { code: "EADDRINUSE" },
      );
      assert.deepEqual(
        (await readdir(folder)).filter((name) => name.endsWith(".sock")),
        [],
      );
    } finally {
      taken.close();
    }
  });
});
