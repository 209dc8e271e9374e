import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export type Boot = Readonly<Record<"appId" | "composeHash" | "osImageHash" | "deviceId", string>>;

export interface FakeWebhook {
  readonly url: string;
  /** Undefined: every connection is cut. */
  answer: ((boot: Boot) => object) | undefined;
  close(): void;
}

/** An authorization webhook that says what a test wants. */
export async function startWebhook(): Promise<FakeWebhook> {
  const server = createServer((request, response) => {
    let body = "";
    request
      .on("data", (chunk: Buffer) => (body += chunk.toString()))
      .once("end", () => {
        if (webhook.answer === undefined) request.socket.destroy();
        else
          response
            .writeHead(200, { "content-type": "application/json" })
            .end(
              JSON.stringify(
                request.url === "/"
                  ? { status: "ok", gatewayAppId: "", kmsContractAddr: "", chainId: 0, appImplementation: "" }
                  : webhook.answer(JSON.parse(body) as Boot),
              ),
            );
      });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const webhook: FakeWebhook = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answer: undefined,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return webhook;
}
