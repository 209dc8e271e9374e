import assert from "node:assert/strict";
import { test } from "node:test";
import { onlyReads } from "../src/chain/endpoint.ts";

test("questions about a chain may be asked twice, what changes it may not", () => {
  const request = (method: unknown): string => JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: [] });
  for (const method of ["eth_call", "eth_chainId", "eth_getBlockByNumber", "eth_getTransactionReceipt"])
    assert.equal(onlyReads(request(method)), true, method);
  for (const method of ["eth_sendRawTransaction", "eth_sendTransaction", "anvil_setBalance", "eth_callMany", 7])
    assert.equal(onlyReads(request(method)), false, String(method));
  assert.equal(onlyReads("[]"), false);
});
