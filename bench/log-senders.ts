/** A thread that posts the same large body again and again over several connections, and says how often it was answered. */
import { request } from "node:https";
import { parentPort, workerData } from "node:worker_threads";

export interface LogSenders {
  readonly port: number;
  readonly path: string;
  readonly body: Uint8Array;
  readonly connections: number;
}

const { port, path, body, connections } = workerData as LogSenders;

async function send(): Promise<never> {
  for (;;) {
    await new Promise<void>((resolve, reject) => {
      request(
        { host: "127.0.0.1", port, path, method: "POST", rejectUnauthorized: false, agent: false },
        (response) => void response.resume().once("close", resolve),
      )
        .once("error", reject)
        .end(body);
    });
    // A thread's port has no origin.
    // oxlint-disable-next-line unicorn/require-post-message-target-origin
    parentPort?.postMessage("answered");
  }
}

await Promise.all(Array.from({ length: connections }, send));
