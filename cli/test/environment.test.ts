import assert from "node:assert/strict";
import { test } from "node:test";
import { createCli } from "../src/clients/cli.ts";

test("refuses a port base that leaves no room for all ports, instead of taking the usual ones", () => {
  for (const base of ["abc", "80", "1023", "65528", "70000", "1e4", "20000 "])
    assert.throws(() => createCli({ DSTACK_PORT_BASE: base }), {
      code: "usage",
      message: /DSTACK_PORT_BASE=.*1024 to 65526/,
    });
  assert.equal(createCli({ DSTACK_PORT_BASE: "65526" }).layout.ports.keyProvider, 65_535);
  assert.equal(createCli({}).layout.ports.vmm, 9080);
});

test("refuses an address of the VMM that is none", async () => {
  for (const url of ["nonsense", "ftp://x", "localhost:9080"])
    await assert.rejects(createCli({ DSTACK_VMM_URL: url }).vmm(), {
      code: "usage",
      message: /DSTACK_VMM_URL=.*expected an http/,
    });
  assert.equal((await createCli({ DSTACK_VMM_URL: "http://h:1" }).vmm()).url, "http://h:1");
});
