import { ChainReader, endpoint, KmsContract } from "@dstack/governance/chain";
import { startWebhook } from "@dstack/governance/webhook";
import { createLogger, outliveStrays } from "@dstack/log";
import { chainBackend } from "./chain-backend.ts";
import { denyListOf } from "./deny-list.ts";
import { readSettings } from "./settings.ts";

const log = createLogger({ name: "auth-eth", env: process.env });
outliveStrays(log);

try {
  const settings = readSettings(process.env);
  const { rpcUrls, quorum, chainId, confirmations, maxBlockAgeSeconds, deadlineMs } = settings;
  const endpoints = rpcUrls.map((url) => endpoint(url, deadlineMs));
  const reader = new ChainReader({
    endpoints,
    quorum,
    chainId,
    confirmations,
    maxBlockAgeSeconds,
    deadlineMs,
    clock: Date,
  });
  const backend = chainBackend({
    contract: new KmsContract(settings.contract, reader),
    address: settings.contractAsGiven,
    rpcUrls,
    denied: denyListOf(settings.denyListPath),
  });
  const server = await startWebhook({ listen: settings.listen, backend, log, env: process.env });
  if (chainId === undefined)
    log.warn("ETH_CHAIN_ID is not set: whichever chain a quorum of the endpoints is on at first is believed");
  if (confirmations !== undefined) log.warn({ confirmations }, "blocks count before they are final");
  log.info(
    { address: server.address, contract: settings.contract, endpoints: endpoints.map(({ name }) => name), quorum },
    "listening",
  );
  const stop = (signal: string): void => {
    log.info({ signal }, "stopping");
    void server.close();
  };
  process.once("SIGTERM", stop).once("SIGINT", stop);
} catch (error) {
  log.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
