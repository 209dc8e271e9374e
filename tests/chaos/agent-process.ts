/** The agent as a process of its own: on a recorded TEE that another server must answer for first, with certificates from a KMS. */
import { createAgent, listen, type Tee } from "@dstack/agent";
import { exchange } from "@dstack/http";
import { createLogger } from "@dstack/log";
import { recordedPorts } from "../../libs/agent/test/fixture.ts";
import { keysFromSeed } from "../../services/guest/src/keys/app-keys.ts";
import { certificateIssuer } from "../../services/guest/src/keys/certificates.ts";

const [folder = "", teeUrl = "", kmsUrl = ""] = process.argv.slice(2);
const ports = recordedPorts({ public_logs: true, public_sysinfo: true, public_tcbinfo: true });
const recorded = ports.tee;
const tee: Tee = {
  // What an app writes into the log stays there: here it would be what memory grows by.
  emit: () => Promise.resolve(),
  attest: async (reportData, config) => {
    await exchange({ url: teeUrl, timeoutMs: 2_000, maxAnswerBytes: 65_536 });
    return recorded.attest(reportData, config);
  },
};
const { keys: own } = await keysFromSeed(
  new Uint8Array(32),
  { kind: "none" },
  { tee: recorded, vmConfig: ports.vmConfig, now: ports.now() },
);
const { provider } = own;
if (provider.kind !== "none") throw new Error("no authority of its own");
const issuer = certificateIssuer({
  keys: { ...own, provider: { kind: "kms", url: kmsUrl, publicKeyInfo: new Uint8Array(), tempCa: provider.ca } },
  tee,
  vmConfig: ports.vmConfig,
  verifyEvidence: () => Promise.reject(new Error("nobody's evidence holds here")),
  now: ports.now,
});
const listeners = await listen(
  createAgent({
    ...ports,
    log: createLogger({ name: "agent", env: process.env }),
    tee,
    issuer,
  }),
  { folder, publicListen: { host: "127.0.0.1", port: 0 } },
);
process.once("SIGTERM", () => void listeners.close());
