/** The agent as a process of its own, on a recorded TEE that another server must answer for first. */
import { createAgent, listen } from "@dstack/agent";
import { exchange } from "@dstack/http";
import { createLogger } from "@dstack/log";
import { recordedPorts } from "../../libs/agent/test/fixture.ts";

const [folder = "", teeUrl = ""] = process.argv.slice(2);
const ports = recordedPorts({ public_logs: true, public_sysinfo: true, public_tcbinfo: true });
const { tee } = ports;
const listeners = await listen(
  createAgent({
    ...ports,
    log: createLogger({ name: "agent", env: process.env }),
    tee: {
      // What an app writes into the log stays there: here it would be what memory grows by.
      emit: () => Promise.resolve(),
      attest: async (reportData, config) => {
        await exchange({ url: teeUrl, timeoutMs: 2_000, maxAnswerBytes: 65_536 });
        return tee.attest(reportData, config);
      },
    },
  }),
  { folder, publicListen: { host: "127.0.0.1", port: 0 } },
);
process.once("SIGTERM", () => void listeners.close());
