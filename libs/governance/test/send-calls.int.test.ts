import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import { sendCall } from "@dstack/governance/chain";
import { keccak256, parseTransaction, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { endpoint } from "../src/chain/endpoint.ts";

const account = privateKeyToAccount(`0x${"01".repeat(32)}`);
const HASH = `0x${"11".repeat(32)}`;
const ZERO = `0x${"00".repeat(32)}`;
const BLOCK = {
  number: "0x10",
  hash: HASH,
  timestamp: "0x65000000",
  baseFeePerGas: "0x1",
  transactions: [],
  gasLimit: "0x1c9c380",
  gasUsed: "0x0",
  parentHash: ZERO,
  nonce: "0x0",
  miner: `0x${"00".repeat(20)}`,
  difficulty: "0x0",
  extraData: "0x",
  logsBloom: "0x",
  size: "0x1",
  stateRoot: ZERO,
  receiptsRoot: ZERO,
  transactionsRoot: ZERO,
  sha3Uncles: ZERO,
  uncles: [],
};

let server: Server;
let url = "";
/** What the chain has, and how often its endpoint tells an older count from now on. */
let sent: number[] = [];
let staleAnswers = 0;
let isStuck = false;

function answer(method: string, [first]: readonly unknown[]): unknown {
  switch (method) {
    case "eth_chainId":
      return "0x7a69";
    case "eth_call":
      return "0x";
    case "eth_blockNumber":
      return BLOCK.number;
    case "eth_getBlockByNumber":
      return BLOCK;
    case "eth_estimateGas":
      return "0x5208";
    case "eth_maxPriorityFeePerGas":
    case "eth_gasPrice":
      return "0x1";
    case "eth_getTransactionCount":
      if (isStuck) return "0x0";
      return `0x${(staleAnswers-- > 0 ? Math.max(sent.length - 1, 0) : sent.length).toString(16)}`;
    case "eth_sendRawTransaction": {
      const { nonce = 0 } = parseTransaction(first as Hex);
      if (nonce !== sent.length) throw new Error(`nonce too low: next nonce ${sent.length}, tx nonce ${nonce}`);
      sent.push(nonce);
      return keccak256(first as Hex);
    }
    case "eth_getTransactionReceipt":
      return {
        transactionHash: first,
        blockNumber: BLOCK.number,
        blockHash: HASH,
        status: "0x1",
        gasUsed: "0x1",
        cumulativeGasUsed: "0x1",
        effectiveGasPrice: "0x1",
        logs: [],
        logsBloom: "0x",
        from: account.address,
        to: null,
        contractAddress: `0x${"22".repeat(20)}`,
        transactionIndex: "0x0",
        type: "0x2",
      };
    default:
      return null;
  }
}

before(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const { id, method, params = [] } = JSON.parse(body) as { id: number; method: string; params?: unknown[] };
      let told: object;
      try {
        told = { result: answer(method, params) };
      } catch (error) {
        told = { error: { code: -32000, message: (error as Error).message } };
      }
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ jsonrpc: "2.0", id, ...told }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.close();
  server.closeAllConnections();
});
beforeEach(() => {
  sent = [];
  staleAnswers = 0;
  isStuck = false;
});

const send = (title: string, timeoutMs = 5_000) =>
  sendCall({ title, data: "0x60", to: undefined }, { client: endpoint(url, 5_000).client, account, timeoutMs });

test("transactions in a row get through an endpoint whose count lags behind", async () => {
  for (const title of ["one", "two", "three"]) {
    await send(title);
    staleAnswers = 3;
  }
  assert.deepEqual(sent, [0, 1, 2]);
});

test("a count that goes back between two transactions is waited out", async () => {
  await send("one");
  staleAnswers = 2;
  await send("two");
  assert.deepEqual(sent, [0, 1]);
});

test("an endpoint that never counts a transaction keeps none from being told, and sends the next one nowhere", async () => {
  isStuck = true;
  await send("one", 600);
  await assert.rejects(send("two", 600), { code: "chain-refused", message: /two: .*[Nn]once/ });
  assert.deepEqual(sent, [0]);
});
