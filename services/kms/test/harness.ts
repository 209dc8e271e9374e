/** A KMS with everything around it, real but for the TEE: mock PKI, collateral server, image server, auth-simple. */
import { spawn, type ChildProcess } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { hash48, parseHex, utf8, type ReportData } from "@dstack/bytes";
import { replayRtmr3, reportDataFor, type Attestation, type RuntimeEvent } from "@dstack/attest";
import { CHECKSUM_ORDER, formatChecksumFile, makeMrBundle } from "@dstack/image";
import { generateP256, pkcs8Pem, spkiDer, type P256Key } from "@dstack/keys";
import { createLogger, type Logger } from "@dstack/log";
import { measureVm, parseVmConfig, type VmFiles } from "@dstack/measure";
import { kms as proto } from "@dstack/proto";
import { attestedTransport, createTempClientCertificate, fetchTempCaUnverified, type TempCa } from "@dstack/ratls";
import { errorChain } from "@dstack/errors";
import { callRpc, httpTransport, type HttpServer } from "@dstack/rpc";
import { mockPki, parseSeed, signMockQuote, startMockPccs, type MockPki } from "@dstack/tee-simulator";
import { files as fixtureFiles } from "../../../libs/measure/test/fixtures.ts";
import { loadKmsConfig } from "../src/config/kms-config.ts";
import { startKms, type Kms, type KmsOptions } from "../src/kms.ts";

export const APP_ID = "a1".repeat(20);
export const COMPOSE_HASH = "c0".repeat(32);
export const INSTANCE_ID = "1d".repeat(20);
/** SHA-256 of the mock platform's PPID, 16 zero bytes. */
export const DEVICE_ID = createHash("sha256").update(new Uint8Array(16)).digest("hex");

/** Lines of the log as objects, for assertions on what was said and what was not. */
export class LogSink {
  text = "";
  readonly log: Logger = createLogger({
    name: "test",
    level: "debug",
    stream: { write: (line: string) => (this.text += line) },
  });
}

export interface Image {
  readonly files: VmFiles;
  readonly hash: string;
}

export interface Guest {
  readonly key: P256Key;
  readonly attestation: Attestation;
  readonly vmConfig: string;
}

export interface GuestOptions {
  readonly pki?: MockPki;
  readonly files?: VmFiles;
  readonly composeHash?: string;
  readonly appId?: string;
  readonly events?: readonly RuntimeEvent[];
  readonly vmConfig?: Record<string, unknown>;
  readonly key?: P256Key;
  readonly reportData?: ReportData;
  /** Changes the signed quote before it is used. */
  readonly editQuote?: (quote: Uint8Array) => void;
}

export class Harness {
  readonly folder: string;
  /** Of the PKI, hex. */
  readonly seed: string;
  readonly pki: MockPki;
  readonly image: Image;
  readonly sink = new LogSink();
  readonly #pccs: HttpServer;
  readonly #images: Server;
  readonly #auth: ChildProcess;
  readonly authUrl: string;
  imageRequests = 0;
  kms!: Kms;

  private constructor(parts: {
    folder: string;
    seed: string;
    pki: MockPki;
    image: Image;
    pccs: HttpServer;
    images: Server;
    auth: ChildProcess;
    authUrl: string;
  }) {
    this.folder = parts.folder;
    this.seed = parts.seed;
    this.pki = parts.pki;
    this.image = parts.image;
    this.#pccs = parts.pccs;
    this.#images = parts.images;
    this.#auth = parts.auth;
    this.authUrl = parts.authUrl;
    parts.images.prependListener("request", () => this.imageRequests++);
  }

  static async create(): Promise<Harness> {
    const folder = await mkdtemp(join(tmpdir(), "kms-"));
    const seed = randomBytes(32).toString("hex");
    const pki = mockPki(parseSeed(seed));
    await writeFile(join(folder, "root.pem"), pki.rootPem);
    const image = await makeImage(folder);
    const images = await serveFolder(join(folder, "bundles"));
    const pccs = await startMockPccs({ pki, host: "127.0.0.1", port: 0, log: new LogSink().log, clock: Date });
    const { child, url } = await startAuthSimple(join(folder, "auth-config.json"));
    const harness = new Harness({ folder, seed, pki, image, pccs, images, auth: child, authUrl: url });
    await harness.allow({});
    return harness;
  }

  /** Writes the allow-list; by default exactly this image, device, app and compose hash. */
  async allow(change: {
    readonly composeHashes?: readonly string[];
    readonly osImages?: readonly string[];
    readonly devices?: readonly string[];
  }): Promise<void> {
    const config = {
      gatewayAppId: "9a".repeat(20),
      osImages: change.osImages ?? [this.image.hash],
      kms: { mrAggregated: [] },
      apps: {
        [APP_ID]: { composeHashes: change.composeHashes ?? [COMPOSE_HASH], devices: change.devices ?? [DEVICE_ID] },
      },
    };
    await writeFile(join(this.folder, "auth-config.json"), JSON.stringify(config));
  }

  /** kms.toml of the demo, with changes by dotted key (values in TOML). */
  async writeConfig(change: Readonly<Record<string, string>> = {}): Promise<string> {
    const values: Record<string, string> = {
      "rpc.address": '"127.0.0.1"',
      "rpc.port": "0",
      "core.cert_dir": `"${this.folder}/keys"`,
      "core.attest_rpc_cert": "false",
      "core.enforce_self_authorization": "false",
      "core.attestation.insecure_allow_external_trust_anchors": "true",
      "core.attestation.urls.pccs": `"http://${this.#pccs.address}"`,
      "core.attestation.root_ca.tdx": `"${this.folder}/root.pem"`,
      "core.image.cache_dir": `"${this.folder}/cache"`,
      "core.image.download_url": `"http://127.0.0.1:${(this.#images.address() as AddressInfo).port}/mr_{OS_IMAGE_HASH}.tar.gz"`,
      "core.image.download_timeout": '"20s"',
      "core.auth_api.webhook.url": `"${this.authUrl}"`,
      "core.onboard.auto_bootstrap_domain": '"127.0.0.1"',
      "core.own_names": '["kms-2.replicas.example.net"]',
      ...change,
    };
    const path = join(this.folder, "kms.toml");
    await writeFile(
      path,
      Object.entries(values)
        .map(([key, value]) => `${key} = ${value}\n`)
        .join(""),
    );
    return path;
  }

  async start(change: Readonly<Record<string, string>> = {}, env: Readonly<Record<string, string>> = {}): Promise<Kms> {
    this.kms = await startKms(await this.kmsOptions(change, env));
    return this.kms;
  }

  /** For a KMS beside the harness's own; give it a `core.cert_dir` of its own. */
  async kmsOptions(
    change: Readonly<Record<string, string>>,
    env: Readonly<Record<string, string>> = {},
  ): Promise<KmsOptions> {
    const { config } = await loadKmsConfig({
      file: await this.writeConfig(change),
      env,
      cwd: this.folder,
    });
    return {
      config,
      version: "0.6.0",
      clock: Date,
      log: this.sink.log,
      print: () => undefined,
      signal: new AbortController().signal,
    };
  }

  /** Ports of the servers that it depends on, for whoever stands between. */
  get upstreamPorts(): { readonly pccs: number; readonly images: number; readonly auth: number } {
    return {
      pccs: this.#pccs.port,
      images: (this.#images.address() as AddressInfo).port,
      auth: Number(new URL(this.authUrl).port),
    };
  }

  get baseUrl(): string {
    return `https://127.0.0.1:${this.kms.server.port}/prpc`;
  }

  guest(options: GuestOptions = {}): Guest {
    const { pki = this.pki, files = this.image.files, key = generateP256() } = options;
    const vmConfig = JSON.stringify({
      spec_version: 1,
      os_image_hash: this.image.hash,
      cpu_count: 2,
      memory_size: 2 ** 31,
      qemu_version: "10.0.2",
      ...options.vmConfig,
    });
    const measured = measureVm(files, parseVmConfig(vmConfig));
    const event = (name: string, payload: Uint8Array): RuntimeEvent => ({ event: name, payload });
    const runtimeEvents = options.events ?? [
      event("system-preparing", new Uint8Array()),
      event("app-id", parseHex(options.appId ?? APP_ID)),
      event("compose-hash", parseHex(options.composeHash ?? COMPOSE_HASH)),
      event("instance-id", parseHex(INSTANCE_ID)),
      event("boot-mr-done", new Uint8Array()),
    ];
    const reportData = options.reportData ?? reportDataFor("ratls-cert", spkiDer(key));
    const quote = signMockQuote(
      pki,
      {
        mrTd: measured.mrtd,
        rtmr: [measured.rtmr0, measured.rtmr1, measured.rtmr2, replayRtmr3(runtimeEvents)],
        mrConfigId: hash48(new Uint8Array(48)),
      },
      reportData,
    );
    options.editQuote?.(quote);
    return {
      key,
      vmConfig,
      attestation: { platform: { kind: "tdx", quote, eventLog: [] }, runtimeEvents, reportData, config: vmConfig },
    };
  }

  tempCa(): Promise<TempCa> {
    return fetchTempCaUnverified({ baseUrl: this.baseUrl, timeoutMs: 60_000 });
  }

  /** The whole way of a guest to its keys; the error text where it is refused. */
  async getAppKey(guest: Guest, vmConfig = guest.vmConfig) {
    const { tempCa, caCertificatePem } = await this.tempCa();
    const mine = createTempClientCertificate({
      tempCa,
      key: guest.key,
      attestation: guest.attestation,
      now: Math.floor(Date.now() / 1000),
    });
    const transport = attestedTransport({
      baseUrl: this.baseUrl,
      trustedRoots: [caCertificatePem],
      peer: { kind: "kms" },
      identity: { certificatePem: mine.pem, keyPem: pkcs8Pem(guest.key) },
    });
    return callRpc(transport, proto.KMS.method.getAppKey, { apiVersion: 1, vmConfig }, { timeoutMs: 60_000 });
  }

  /** Calls a method as nobody; the error text, or the answer. */
  async post(method: string, body: object): Promise<string> {
    const transport = httpTransport({ baseUrl: this.baseUrl, tls: { rejectUnauthorized: false } });
    const answer = await transport.call(method, JSON.stringify(body), { timeoutMs: 60_000 });
    const text = Buffer.from(answer.body).toString();
    return answer.status === 200 ? text : (JSON.parse(text) as { error: string }).error;
  }

  async refusalOf(guest: Guest, vmConfig = guest.vmConfig): Promise<string> {
    try {
      await this.getAppKey(guest, vmConfig);
    } catch (error) {
      return errorChain(error);
    }
    return "released";
  }

  async auditLines(): Promise<Record<string, unknown>[]> {
    return (await readFile(join(this.folder, "keys/audit.jsonl"), "utf8"))
      .trimEnd()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async stopAuth(): Promise<void> {
    this.#auth.kill("SIGTERM");
    if (this.#auth.exitCode === null) await once(this.#auth, "exit");
  }

  async close(): Promise<void> {
    await this.kms?.close();
    await this.#pccs.close();
    this.#images.closeAllConnections();
    this.#images.close();
    await this.stopAuth();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Small files of the right form in the folder of an image, and their bundle. */
async function makeImage(folder: string): Promise<Image> {
  const files = fixtureFiles();
  const dir = join(folder, "dstack-sim-0.6.0");
  await mkdir(dir);
  await mkdir(join(folder, "bundles"));
  const metadata = utf8(
    JSON.stringify({
      bios: "ovmf.fd",
      kernel: "bzImage",
      initrd: "initramfs.cpio.gz",
      cmdline: files.cmdline,
      version: "0.6.0",
      is_dev: true,
    }),
  );
  const contents: Record<string, Uint8Array> = {
    "ovmf.fd": files.firmware,
    bzImage: files.kernel,
    "initramfs.cpio.gz": files.initrd,
    "metadata.json": metadata,
  };
  for (const [name, bytes] of Object.entries(contents)) await writeFile(join(dir, name), bytes);
  const sums = CHECKSUM_ORDER.filter((name) => name in contents).map((name) => ({
    name,
    sha256: createHash("sha256").update(contents[name]!).digest("hex"),
  }));
  await writeFile(join(dir, "sha256sum.txt"), formatChecksumFile(sums));
  const path = await makeMrBundle(dir, join(folder, "bundles"));
  return { files, hash: /mr_([0-9a-f]{64})/.exec(basename(path))![1]! };
}

async function serveFolder(folder: string): Promise<Server> {
  const server = createServer((request, response) => {
    readFile(join(folder, basename(request.url ?? ""))).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function startAuthSimple(config: string): Promise<{ readonly child: ChildProcess; readonly url: string }> {
  const main = join(import.meta.dirname, "../../auth-simple/src/main.ts");
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env["PATH"], HOST: "127.0.0.1", PORT: "0", AUTH_CONFIG_PATH: config },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stderr.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      const found = /"address":"([^"]+)"/.exec(text);
      if (found === null) return;
      resolve(`http://${found[1]}`);
      // It goes on to talk for as long as it runs.
      child.stderr.removeAllListeners("data").resume();
    });
    child.once("exit", () => reject(new Error(text)));
  });
  return { child, url };
}
