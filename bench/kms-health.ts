import { once } from "node:events";
import { request } from "node:https";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { create, toBinary } from "@bufbuild/protobuf";
import { generateP256, spkiDer } from "@dstack/keys";
import { kms } from "@dstack/proto";
import { encodeCsrV1, signCsr } from "@dstack/ratls";
import { attestationOf, event } from "../libs/attest/test/fixtures.ts";
import type { LogSenders } from "./log-senders.ts";

const SENDERS = 4;
const EVENTS = 60_000;

/**
 * How long `GET /health` takes, each over a new connection as a load balancer asks, while strangers
 * send large event logs with a quote of nobody; beside what it takes when nobody else asks.
 */
export async function healthUnderLogs(port: number, probes: number, cpuMs: () => Promise<number>): Promise<void> {
  const body = signCertRequest();
  const idle = await latencies(port, probes);
  const senders: LogSenders = { port, path: "/prpc/SignCert", body, connections: SENDERS };
  const worker = new Worker(join(import.meta.dirname, "log-senders.ts"), { workerData: senders });
  let answered = 0;
  worker.on("message", () => answered++);
  // Its connections are there.
  await once(worker, "message");
  answered = 0;
  const before = await cpuMs();
  const begun = performance.now();
  const loaded = await latencies(port, probes);
  const seconds = (performance.now() - begun) / 1_000;
  const spentMs = (await cpuMs()) - before;
  await worker.terminate();
  console.log(
    `\nGET /health, a new connection each, while ${SENDERS} senders have SignCert look at ${(body.length / 2 ** 20).toFixed(1)} MiB of events with nobody's quote`,
  );
  const line = (name: string, { p50, p99 }: Latencies): void =>
    console.log(`${name.padEnd(44)} p50 ${p50.toFixed(1).padStart(7)} ms  p99 ${p99.toFixed(1).padStart(7)} ms`);
  line("alone", idle);
  line(`beside ${(answered / seconds).toFixed(1)} such requests a second`, loaded);
  console.log(
    `${"CPU for each such request, probes included".padEnd(44)} ${(spentMs / Math.max(1, answered)).toFixed(1).padStart(9)} ms`,
  );
  console.log(
    `${"p99 beside them".padEnd(44)} ${(loaded.p99 / idle.p99).toFixed(1).padStart(9)} x its own alone; aim 5`,
  );
}

interface Latencies {
  readonly p50: number;
  readonly p99: number;
}

async function latencies(port: number, count: number): Promise<Latencies> {
  const all: number[] = [];
  for (let index = 0; index < count; index++) {
    const begun = performance.now();
    await askHealth(port);
    all.push(performance.now() - begun);
  }
  all.sort((a, b) => a - b);
  const at = (share: number): number => all[Math.min(all.length - 1, Math.floor(share * all.length))]!;
  return { p50: at(0.5), p99: at(0.99) };
}

function signCertRequest(): Uint8Array {
  const { quote } = attestationOf([event("x")]).platform;
  const entry = JSON.stringify({ imr: 3, event_type: 134_217_729, event: "e", event_payload: "00".repeat(20) });
  const key = generateP256();
  const config = {
    subject: "x",
    altNames: [],
    serverAuth: true,
    clientAuth: false,
    withEvidence: false,
    withAppInfo: false,
  };
  const csr = encodeCsrV1({
    publicKeyInfo: spkiDer(key),
    config,
    quote,
    eventLogJson: `[${Array.from({ length: EVENTS }, () => entry).join(",")}]`,
  });
  const message = { apiVersion: 1, csr, signature: signCsr(csr, key), vmConfig: "" };
  return toBinary(kms.SignCertRequestSchema, create(kms.SignCertRequestSchema, message));
}

function askHealth(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port, path: "/health", rejectUnauthorized: false, agent: false }, (response) => {
      response.resume().once("end", resolve);
    })
      .once("error", reject)
      .end();
  });
}
