import type { Daemon } from "./daemon.ts";
import { agent } from "./daemons/agent.ts";
import { authEth } from "./daemons/auth-eth.ts";
import { authSimple } from "./daemons/auth-simple.ts";
import { gateway } from "./daemons/gateway.ts";
import { kms } from "./daemons/kms.ts";
import { kmsSetUp } from "./daemons/kms-setup.ts";
import { supervisor } from "./daemons/supervisor.ts";
import { verifier } from "./daemons/verifier.ts";
import { vmm } from "./daemons/vmm.ts";

/** Everything that is walked over, and which sources open its listeners. */
export const EVERY_DAEMON: Readonly<
  Record<string, { readonly start: () => Promise<Daemon>; readonly sources: readonly string[] }>
> = {
  "the KMS": { start: kms, sources: ["services/kms/src/http/main-listener.ts", "services/kms/src/http/admin.ts"] },
  "the KMS without keys": { start: kmsSetUp, sources: ["services/kms/src/setup/setup-server.ts"] },
  "the gateway": {
    start: gateway,
    sources: [
      "services/gateway/src/rpc/main-listener.ts",
      "services/gateway/src/rpc/admin-listener.ts",
      "services/gateway/src/proxy/proxy-listener.ts",
      "services/gateway/src/proxy/http-answers.ts",
    ],
  },
  "the VMM": { start: vmm, sources: ["services/vmm/src/main.ts"] },
  "the supervisor": { start: supervisor, sources: ["services/supervisor/src/main.ts"] },
  "the verifier": { start: verifier, sources: ["services/verifier/src/main.ts"] },
  "auth-simple": { start: authSimple, sources: ["libs/governance/src/webhook-server.ts"] },
  // The same listener as auth-simple.
  "auth-eth": { start: authEth, sources: [] },
  "the agent": { start: agent, sources: ["libs/agent/src/listeners.ts"] },
};
