import { mkdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { serverCertificate } from "../../../services/gateway/test/support/pki.ts";
import { startScriptedWebhook } from "../../../services/kms/test/scripted-webhook.ts";
import { composeFile, makeHost, vmRequest } from "../../../services/vmm/test/vmm-process.ts";
import type { Daemon } from "../daemon.ts";
import { startProcess } from "../daemon-process.ts";
import { NastyUpstream } from "../nasty-upstream.ts";
import { ask, message, sleep, type Message } from "../wire-client.ts";
import { listenerOf } from "./listener-of.ts";

const TOKEN = "chaos-management-token";
const HEADERS = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };

/** The VMM with one VM, whose QEMU is a stand-in; upstreams: the supervisor, a KMS, the webhook, the guest. */
export async function vmm(): Promise<Daemon> {
  const host = makeHost();
  const { dir } = host;
  mkdirSync(join(dir, "run"));
  const [realSocket, socket] = [join(dir, "run/real.sock"), join(dir, "run/s.sock")];
  const supervisor = await startProcess({
    main: "services/supervisor/src/main.ts",
    args: ["--uds", realSocket],
    cwd: dir,
    listeners: 1,
  });
  const webhook = await startScriptedWebhook();
  const own = serverCertificate("127.0.0.1");
  const [toSupervisor, kms, auth] = await Promise.all([
    NastyUpstream.start({ path: socket, backend: { path: realSocket } }),
    NastyUpstream.start({ tls: createSecureContext({ key: own.keyPem, cert: own.certificatePem }) }),
    NastyUpstream.start({ backend: { host: "127.0.0.1", port: Number(new URL(webhook.url).port) } }),
  ]);
  const config = join(dir, "vmm.toml");
  writeFileSync(
    config,
    `address = "127.0.0.1:0"
port = 0
run_path = "${dir}/vm"
kms_url = "${kms.url}"
[image]
path = "${dir}/images"
[cvm]
qemu_path = "${dir}/bin/qemu-system-x86_64"
accelerator = "tcg"
[auth]
enabled = true
tokens = ["${TOKEN}"]
[auth_webhook]
url = "${auth.url}"
[supervisor]
sock = "${socket}"
auto_start = false
`,
  );
  const process = await startProcess({
    main: "services/vmm/src/main.ts",
    args: ["-c", config],
    cwd: dir,
    listeners: 1,
  });
  const listener = listenerOf(process.listeners[0], {
    name: "the management API",
    reach: "token",
    headers: HEADERS,
    seeds: {
      "/console/": () => message("GET", "/console/main.js", "", HEADERS),
      "/prpc/GetComposeHash": () => call("GetComposeHash", { name: "chaos", compose_file: composeFile() }),
    },
    probe: message("GET", "/prpc/Version", "", HEADERS),
  });
  const { text } = await ask(listener.place, call("CreateVm", vmRequest()));
  const id = /"id":"([^"]+)"/.exec(text)?.[1];
  if (id === undefined) throw new Error(`no VM: ${text}`);
  const guest = (): Message => message("POST", "/guest/NetworkInfo?json", JSON.stringify({ id }), HEADERS);
  for (let i = 0; i < 100 && !(await ask(listener.place, guest())).text.includes("10.0.2.3"); i++) await sleep(100);
  const advice = JSON.stringify({ compose_file: composeFile(), image: "dstack-0.6.0" });
  const common = { place: listener.place, reach: "token" } as const;
  return {
    name: "VMM",
    process,
    listeners: [listener],
    deep: [
      {
        ...common,
        name: "SvList",
        make: () => call("SvList", {}),
        upstreams: [toSupervisor],
        honest: /"processes":\[/,
      },
      {
        ...common,
        name: "GetAppEnvEncryptPubKey",
        make: () => call("GetAppEnvEncryptPubKey", { app_id: "11".repeat(20) }),
        upstreams: [kms],
      },
      {
        ...common,
        name: "advice on a boot",
        make: () => message("POST", "/boot-advice", advice, HEADERS),
        upstreams: [auth],
        honest: /"allowed":true/,
      },
      { ...common, name: "what a guest says", make: guest, upstreams: [], honest: /10\.0\.2\.3/ },
      {
        ...common,
        name: "a log that is followed",
        make: () => message("GET", `/logs?id=${id}&follow=true&ansi=false&lines=10`, "", HEADERS),
        upstreams: [],
      },
    ],
    upstreams: [toSupervisor, kms, auth],
    close: async () => {
      for (const upstream of [toSupervisor, kms, auth]) await upstream.close();
      webhook.close();
      await ask({ path: realSocket }, message("POST", "/shutdown"));
      await supervisor.stop();
      await rm(dir, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

const call = (method: string, body: object): Message =>
  message("POST", `/prpc/${method}?json`, JSON.stringify(body), HEADERS);
