import { createServer, type Server } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { decodeFunctionData, encodeFunctionResult, keccak256, toHex, type Hex } from "viem";
import { dstackKmsAbi } from "../src/chain/gen/dstack-kms.ts";

/** What a scripted endpoint does to its next questions. */
export type Mood =
  | "good"
  | "silent"
  | "garbage"
  | "endless"
  | "error"
  | "http-500"
  | "empty-answers"
  | "wrong-block"
  | "silent-on-blocks"
  | "echo"
  | "redirect";

/** A JSON-RPC server of a chain with one DstackKms on it, which can lie in every way an endpoint can. */
export class FakeRpc {
  mood: Mood = "good";
  chainId = 1337;
  head = 100;
  finalized = 98;
  /** Sets the hashes of blocks apart from those of other forks. */
  fork = "main";
  /** Unix seconds of the block asked for. */
  timestamp = Math.floor(Date.now() / 1000);
  decision: readonly [boolean, string] | "revert" = [true, ""];
  gatewayAppId = "gateway";
  redirectTo = "";
  authorization = "";
  /** Keeps the answers to `eth_call` back. */
  hold: PromiseWithResolvers<void> | undefined;
  readonly #isHeld = Promise.withResolvers<void>();
  /** Once one was kept back. */
  readonly held = this.#isHeld.promise;
  echo = "";
  echoStatus = 200;
  /** What was asked: method, block, decoded arguments. */
  readonly asked: { method: string; block?: string; functionName?: string; args?: readonly unknown[] }[] = [];
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      let body = "";
      this.authorization = request.headers.authorization ?? "";
      request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      request.once("end", () => {
        switch (this.mood) {
          case "silent":
            return;
          case "silent-on-blocks":
            if (/eth_call|"0x/.test(body)) return;
            break;
          case "redirect":
            return void response.writeHead(307, { location: this.redirectTo }).end();
          case "echo":
            return void response.writeHead(this.echoStatus, { "content-type": "application/json" }).end(this.echo);
          case "garbage":
            return void response
              .writeHead(200, { "content-type": "application/json" })
              .end('{"jsonrpc":"2.0","id":1,"result":"0x');
          case "endless": {
            response.writeHead(200, { "content-type": "application/json" });
            const more = (): void => {
              while (!response.destroyed && response.write("x".repeat(65_536)));
              if (!response.destroyed) response.once("drain", more);
            };
            return more();
          }
          case "http-500":
            return void response.writeHead(500).end("upstream https://rpc.example/secret-key failed");
          default:
        }
        const answer = JSON.stringify(this.#answer(JSON.parse(body) as Question));
        const send = (): void => {
          response.writeHead(200, { "content-type": "application/json" }).end(answer);
        };
        if (this.hold === undefined || !body.includes("eth_call")) return send();
        this.#isHeld.resolve();
        void this.hold.promise.then(send);
      });
    });
  }

  static async start(
    settings: Partial<
      Pick<FakeRpc, "mood" | "chainId" | "head" | "finalized" | "fork" | "decision" | "gatewayAppId">
    > = {},
  ): Promise<FakeRpc> {
    const fake = Object.assign(new FakeRpc(), settings);
    await once(fake.#server.listen(0, "127.0.0.1"), "listening");
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/secret-key`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Only a liar claims a final block that is not there. */
  get #newest(): number {
    return Math.max(this.head, this.finalized);
  }

  blockHash(number: number): Hex {
    return keccak256(toHex(`${this.fork} ${number}`));
  }

  #answer({ id, method, params }: Question): object {
    this.asked.push({ method });
    if (this.mood === "error")
      return {
        jsonrpc: "2.0",
        id,
        error: { code: -32_000, message: "Test backend error at https://rpc.example/secret-key" },
      };
    return { jsonrpc: "2.0", id, ...this.#result(method, params) };
  }

  #result(method: string, params: readonly unknown[] = []): object {
    const at = Number(params[method === "eth_call" ? 1 : 0]);
    if (at > this.#newest)
      return method === "eth_call" ? { error: { code: -32_000, message: "header not found" } } : { result: null };
    switch (method) {
      case "eth_chainId":
        return { result: toHex(this.chainId) };
      case "eth_blockNumber":
        return { result: toHex(this.head) };
      case "eth_getBlockByNumber": {
        const number = params[0] === "finalized" ? this.finalized : Number(params[0]);
        const shown = this.mood === "wrong-block" && params[0] !== "finalized" ? number - 1 : number;
        return {
          result: {
            number: toHex(shown),
            hash: this.blockHash(number),
            timestamp: toHex(this.timestamp),
            transactions: [],
          },
        };
      }
      case "eth_call": {
        if (this.mood === "empty-answers") return { result: "0x" };
        const { data } = params[0] as { data: Hex };
        const { functionName, args } = decodeFunctionData({ abi: dstackKmsAbi, data });
        Object.assign(this.asked.at(-1)!, { block: params[1], functionName, args });
        if (functionName === "gatewayAppId")
          return { result: encodeFunctionResult({ abi: dstackKmsAbi, functionName, result: this.gatewayAppId }) };
        if (functionName === "appImplementation")
          return { result: encodeFunctionResult({ abi: dstackKmsAbi, functionName, result: `0x${"99".repeat(20)}` }) };
        if (functionName !== "isAppAllowed" && functionName !== "isKmsAllowed")
          return { error: { code: -32_601, message: "not scripted" } };
        if (this.decision === "revert") return { error: { code: 3, message: "execution reverted: strange" } };
        return { result: encodeFunctionResult({ abi: dstackKmsAbi, functionName, result: [...this.decision] }) };
      }
      default:
        return { error: { code: -32_601, message: "not scripted" } };
    }
  }
}

interface Question {
  readonly id: number;
  readonly method: string;
  readonly params: readonly unknown[];
}
