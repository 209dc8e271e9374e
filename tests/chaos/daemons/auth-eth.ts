import { FakeRpc } from "../../../libs/governance/test/fake-rpc.ts";
import type { Daemon } from "../daemon.ts";
import { startProcess } from "../daemon-process.ts";
import { NastyUpstream } from "../nasty-upstream.ts";
import { message } from "../wire-client.ts";
import { BOOT_SEEDS, bootQuestion } from "./boot-question.ts";
import { listenerOf } from "./listener-of.ts";
import { temporaryFolder } from "./temporary-folder.ts";

/** The webhook over a chain; its upstreams are two RPC endpoints. */
export async function authEth(): Promise<Daemon> {
  const { folder, remove } = await temporaryFolder("auth-eth");
  const chain = await FakeRpc.start();
  const endpoints = await Promise.all(
    [0, 1].map(() => NastyUpstream.start({ backend: { host: "127.0.0.1", port: Number(new URL(chain.url).port) } })),
  );
  const process = await startProcess({
    main: "services/auth-eth/src/main.ts",
    env: {
      HOST: "127.0.0.1",
      PORT: "0",
      ETH_RPC_URL: endpoints.map(({ url }) => url).join(),
      ETH_CHAIN_ID: "1337",
      ETH_DEADLINE_MS: "1000",
    },
    cwd: folder,
    listeners: 1,
  });
  const listener = listenerOf(process.listeners[0], {
    name: "the webhook",
    reach: "stranger",
    seeds: BOOT_SEEDS,
    probe: message("GET", "/health"),
  });
  return {
    name: "auth-eth",
    process,
    listeners: [listener],
    deep: [
      {
        name: "a question",
        place: listener.place,
        reach: "stranger",
        make: bootQuestion("/bootAuth/app"),
        upstreams: endpoints.slice(0, 1),
        honest: /"isAllowed":true/,
      },
      {
        name: "what it is",
        place: listener.place,
        reach: "stranger",
        make: () => message("GET", "/"),
        upstreams: endpoints.slice(1),
        honest: /"status":"ok"/,
      },
    ],
    upstreams: endpoints,
    close: async () => {
      for (const endpoint of endpoints) await endpoint.close();
      await chain.stop();
      await remove();
    },
  };
}
