/** A server with one fault, as an argument, that the walk must find. */
import { openSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { createLogger, outliveStrays } from "@dstack/log";
import { readBody, startHttpServer } from "@dstack/rpc";

const [fault] = process.argv.slice(2);
const log = createLogger({ name: "toy", env: process.env });
if (fault === "outlives a rejection") outliveStrays(log);
const kept: unknown[] = [];
let cuts = 0;
const ok = async ({ response }: { readonly response: ServerResponse }): Promise<void> => void response.end("OK");

const hidden: typeof ok = async ({ response }) => void response.writeHead(404).end("Not found\n");

const server = await startHttpServer({
  listen: { host: "127.0.0.1", port: 0 },
  log,
  routes: [
    { verbs: ["GET"], path: "/health", handle: ok },
    {
      verbs: ["POST"],
      path: "/work",
      handle: async (exchange) => {
        const { request, response } = exchange;
        response.once("close", () => {
          if (response.writableFinished) return;
          cuts++;
          if ((fault === "rejects" || fault === "outlives a rejection") && cuts > 50)
            void Promise.reject(new Error("a promise that nobody held"));
          if (fault === "throws" && cuts > 50) throw new Error("in an event");
          if (fault === "hangs" && cuts > 50) for (;;);
        });
        if (fault === "leaks memory") kept.push(Buffer.alloc(100 * 1024, 1));
        if (fault === "leaks descriptors" && cuts % 4 === 0) kept.push(openSync("/dev/null", "r"));
        await readBody(request, 10_000).catch(() => undefined);
        response.end("done");
      },
    },
    ...(fault === "hides a route" ? [{ verbs: ["PATCH"], path: "/hidden", handle: hidden }] : []),
  ],
});
process.once("SIGTERM", () => {
  void server.close();
  if (fault === "stops badly") process.exitCode = 3;
});
