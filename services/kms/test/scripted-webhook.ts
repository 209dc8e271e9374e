/** An auth server whose allow-list of KMS a test changes at will. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface ScriptedWebhook {
  readonly url: string;
  /** Aggregated measurements of the KMS that may serve, hex. */
  readonly kms: Set<string>;
  /** Apps may have keys. */
  apps: boolean;
  /** Paths that were asked, in order. */
  readonly asked: string[];
  /** What was said of the KMS that was asked about last. */
  lastKms: Readonly<Record<string, unknown>>;
  close(): void;
}

export async function startScriptedWebhook(...kms: readonly string[]): Promise<ScriptedWebhook> {
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      hook.asked.push(request.url ?? "");
      if (request.method === "GET")
        return response.end(
          JSON.stringify({
            status: "ok",
            kmsContractAddr: "0xabc",
            gatewayAppId: "gw",
            chainId: 7,
            appImplementation: "0xdef",
            ethRpcUrl: "https://chain.example",
          }),
        );
      if (request.url === "/bootAuth/kms") hook.lastKms = JSON.parse(body) as Record<string, unknown>;
      const isAllowed =
        request.url === "/bootAuth/kms" ? hook.kms.has(String(hook.lastKms["mrAggregated"])) : hook.apps;
      return response.end(
        JSON.stringify({ isAllowed, reason: isAllowed ? "" : "not on the list", gatewayAppId: "9a".repeat(20) }),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const hook: ScriptedWebhook = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    kms: new Set(kms),
    apps: true,
    asked: [],
    lastKms: {},
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return hook;
}
