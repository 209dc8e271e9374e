import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { generateP256 } from "@dstack/keys";
import { startFakeSource } from "../../../services/kms/test/fake-source.ts";
import { Harness } from "../../../services/kms/test/harness.ts";
import { startMockAgent } from "../../../services/kms/test/mock-agent.ts";
import { serverCertificate } from "../../../services/gateway/test/support/pki.ts";
import type { Daemon } from "../daemon.ts";
import { startProcess } from "../daemon-process.ts";
import { NastyUpstream } from "../nasty-upstream.ts";
import { message, type Message } from "../wire-client.ts";
import { listenerOf } from "./listener-of.ts";

const JSON_BODY = { "content-type": "application/json" };

/** The KMS without keys: its set-up listener; upstreams: its guest agent, the source of an onboarding, the webhook. */
export async function kmsSetUp(): Promise<Daemon> {
  const harness = await Harness.create();
  const honestAgent = await startMockAgent(harness, join(harness.folder, "honest.sock"), "2");
  // Evidence over something else is refused, so nothing of it is kept and the agent is asked each time.
  honestAgent.answerFor = () => new Uint8Array(64).fill(7);
  const honestSource = await startFakeSource(harness, [{ key: generateP256() }]);
  const own = serverCertificate("127.0.0.1");
  const agentPath = join(harness.folder, "agent.sock");
  const agent = await NastyUpstream.start({ path: agentPath, backend: { path: join(harness.folder, "honest.sock") } });
  const source = await NastyUpstream.start({
    backend: { host: "127.0.0.1", port: Number(new URL(honestSource.url).port) },
    tls: createSecureContext({ key: own.keyPem, cert: own.certificatePem }),
  });
  const auth = await NastyUpstream.start({ backend: { host: "127.0.0.1", port: harness.upstreamPorts.auth } });
  const config = await harness.writeConfig({
    "core.attest_rpc_cert": "true",
    "core.enforce_self_authorization": "true",
    "core.auth_api.webhook.url": `"${auth.url}"`,
    "core.auth_api.webhook.timeout": '"2s"',
    "core.onboard.auto_bootstrap_domain": '""',
    "core.onboard.address": '"127.0.0.1"',
    "core.onboard.port": "0",
  });
  const process = await startProcess({
    main: "services/kms/src/main.ts",
    args: ["-c", config],
    env: { DSTACK_AGENT_ADDRESS: `unix:${agentPath}` },
    cwd: harness.folder,
    listeners: 1,
  });
  const listener = listenerOf(process.listeners[0], {
    name: "the set-up listener",
    reach: "stranger",
    probe: message("GET", "/health"),
  });
  const common = { place: listener.place, reach: "stranger" } as const;
  const onboard = (): Message => call("Onboard", { source_url: source.url, domain: "127.0.0.1" });
  return {
    name: "KMS without keys",
    process,
    listeners: [listener],
    deep: [
      { ...common, name: "Onboard", make: onboard, upstreams: [source, auth], honest: /is not allowed for onboarding/ },
      {
        ...common,
        name: "GetAttestationInfo",
        make: () => call("GetAttestationInfo", {}),
        upstreams: [agent],
        honest: /other report data/,
      },
      {
        ...common,
        name: "Bootstrap",
        make: () => call("Bootstrap", { domain: "127.0.0.1" }),
        upstreams: [],
        honest: /not allowed to bootstrap/,
      },
    ],
    upstreams: [agent, source, auth],
    close: async () => {
      for (const upstream of [agent, source, auth]) await upstream.close();
      honestSource.close();
      honestAgent.close();
      await harness.close();
    },
  };
}

const call = (method: string, body: object): Message =>
  message("POST", `/prpc/${method}?json`, JSON.stringify(body), JSON_BODY);
