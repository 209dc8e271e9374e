import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, join } from "node:path";
import { createLogger } from "@dstack/log";
import { startMockPccs } from "@dstack/tee-simulator";
import { makeEvidence, makeImage, newPki, wireForms } from "../../../libs/verify/test/mock-app.ts";
import type { Daemon } from "../daemon.ts";
import { startProcess } from "../daemon-process.ts";
import { NastyUpstream } from "../nasty-upstream.ts";
import { message, type Message } from "../wire-client.ts";
import { listenerOf } from "./listener-of.ts";
import { temporaryFolder } from "./temporary-folder.ts";
import { unknownPlatforms } from "./unknown-platforms.ts";

const SEED = "5a".repeat(32);

/** The verifier over HTTP; its upstreams are the collateral server and the images' server. */
export async function verifier(): Promise<Daemon> {
  const { folder, remove } = await temporaryFolder("verifier");
  const pki = newPki(SEED);
  const image = await makeImage(folder);
  await writeFile(join(folder, "root.pem"), pki.rootPem);
  const log = createLogger({ name: "pccs", level: "silent" });
  const honestPccs = await startMockPccs({ pki, host: "127.0.0.1", port: 0, log, clock: Date });
  const honestImages = createServer((request, response) => {
    readFile(join(folder, "bundles", basename(request.url ?? ""))).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    );
  }).listen(0, "127.0.0.1");
  await once(honestImages, "listening");
  const imagesPort = (honestImages.address() as AddressInfo).port;
  const pccs = await NastyUpstream.start({ backend: { host: "127.0.0.1", port: honestPccs.port } });
  const images = await NastyUpstream.start({ backend: { host: "127.0.0.1", port: imagesPort } });
  const config = join(folder, "verifier.toml");
  await writeFile(
    config,
    `address = "127.0.0.1"
port = 0
image_cache_dir = "${folder}/cache"
image_download_url = "${images.url}/mr_{OS_IMAGE_HASH}.tar.gz"
image_download_timeout_secs = 5
[attestation]
insecure_allow_external_trust_anchors = true
urls.pccs = "${pccs.url}"
root_ca.tdx = "${folder}/root.pem"
`,
  );
  const process = await startProcess({
    main: "services/verifier/src/main.ts",
    args: ["-c", config],
    cwd: folder,
    listeners: 1,
  });
  const good = wireForms(makeEvidence(image, { pki })).quote;
  const strangers = unknownPlatforms(SEED).map(
    (platform) => wireForms(makeEvidence(image, { pki: { ...pki, ...platform } })).quote,
  );
  let turn = 0;
  const verify = (request: object): Message =>
    message("POST", "/verify", JSON.stringify(request), { "content-type": "application/json" });
  const listener = listenerOf(process.listeners[0], {
    name: "the API",
    reach: "stranger",
    seeds: { "/verify": () => verify({ ...good, quote: "00".repeat(1_000) }) },
    probe: message("GET", "/health"),
  });
  const common = { place: listener.place, reach: "stranger" } as const;
  return {
    name: "verifier",
    process,
    listeners: [listener],
    deep: [
      {
        ...common,
        name: "evidence of an unknown platform",
        make: () => verify(strangers[turn++ % strangers.length] ?? {}),
        upstreams: [pccs],
      },
      { ...common, name: "good evidence", make: () => verify(good), upstreams: [], honest: /"is_valid":true/ },
      {
        ...common,
        name: "evidence of an unknown image",
        make: () => {
          const vmConfig = { ...JSON.parse(good["vm_config"] ?? "{}"), os_image_hash: randomBytes(32).toString("hex") };
          return verify({ ...good, vm_config: JSON.stringify(vmConfig) });
        },
        upstreams: [images],
        honest: /"is_valid":false/,
      },
    ],
    upstreams: [pccs, images],
    close: async () => {
      await pccs.close();
      await images.close();
      await honestPccs.close();
      honestImages.close();
      await remove();
    },
  };
}
