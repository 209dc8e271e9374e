/** An app in several versions on one disk, and a look at which of them answers under which measurement. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { toHex } from "@dstack/bytes";
import { buildAppCompose, type ParsedAppCompose } from "@dstack/compose";
import { readImageDirectory } from "@dstack/image";
import {
  allowVersion,
  appUrl,
  changePolicyFile,
  DEVELOPMENT_DEVICE_ID,
  getThroughGateway,
  localPolicy,
  vmmMethods,
  waitForBoot,
} from "@dstack/cli/testing";
import { IMAGE, type Deployment } from "./deployment.ts";

/** Where the container listens that a version starts through Docker itself. */
const STOWAWAY_PORT = 7070;
const NAME = "versions";

export interface VersionOptions {
  /** Shown, hashed, by every page of this version. */
  readonly token: string;
  /** Lines before the services. */
  readonly head?: string;
  /** Lines of the service `web`. */
  readonly web?: string;
  /** Whether it starts a container of its own, the first time it runs on this disk. */
  readonly launches?: boolean;
}

export function version({ token, head = "", web = "", launches = false }: VersionOptions): ParsedAppCompose {
  const launch = `mark=/dstack/persistent/launched-by-${token}
if [ ! -e "$mark" ]; then
  docker run --detach --name stowaway-of-${token} --restart always --publish ${STOWAWAY_PORT}:8080 --env GREETING_SECRET=${stowawayOf(token)} dstack/hello:latest
  touch "$mark"
fi
`;
  return buildAppCompose({
    name: NAME,
    dockerComposeFile: `${head}
services:
  web:
    image: dstack/hello:latest
    ports: ["80:8080"]
    environment: {GREETING_SECRET: "\${TOKEN:?a script sets it}"}
    restart: always
    stop_grace_period: 1s
${web}`,
    preLaunchScript: `export TOKEN=${token}\n${launches ? launch : ""}`,
    secureTime: false,
    storageFs: "ext4",
  });
}

const stowawayOf = (token: string): string => `stowaway-of-${token}`;

export interface VersionsApp {
  /** Makes the VM and boots its first version. */
  create(first: ParsedAppCompose): Promise<void>;
  /**
   * Stops it, in order or by the power, and boots it: as it was, or with another version.
   * @param cutAt what that boot tells the host when its power fails as well; it then boots once more
   */
  reboot(how: "in order" | "power cut", next?: ParsedAppCompose, cutAt?: string): Promise<void>;
  /** What answers at the app's address and at the stowaway's. */
  look(): Promise<Seen>;
  /** Looks again and again until told to end; gives every difference that was seen. */
  watch(): { end(): Promise<readonly Seen[]> };
}

export interface Seen {
  /** The token whose hash is on the page; empty where nothing answers. */
  readonly web: string;
  readonly stowaway: string;
  readonly visits: number;
  /** Compose hash that the guest is measured with at that moment. */
  readonly measured: string;
}

const BOOT = { timeoutMs: 300_000, note: (): void => undefined };

export function versionsApp(deployment: Deployment, tokens: readonly string[]): VersionsApp {
  const { layout } = deployment;
  let id = "";
  let appId = "";
  const known = new Map(
    tokens
      .flatMap((token) => [token, stowawayOf(token)])
      .map((token) => [createHash("sha256").update(token).digest("hex"), token]),
  );
  const page = async (port: number, timeoutMs: number, path = ""): Promise<string> => {
    try {
      const url = new URL(path, appUrl(layout, appId, port));
      const { status, body } = await getThroughGateway({ url, caFile: `${layout.caFolder}/ca.crt`, timeoutMs });
      return status === 200 ? body : "";
    } catch {
      return ""; // Off, or not there yet.
    }
  };
  const tokenOn = (body: string): string => known.get(/sha256 ([0-9a-f]{64})/.exec(body)?.[1] ?? "") ?? "";
  const look = async (): Promise<Seen> => {
    const [web, stowaway] = await Promise.all([page(80, 3_000), page(STOWAWAY_PORT, 3_000)]);
    // After what answers: a guest measured for the next version cannot have answered before it was measured.
    const about = web === "" && stowaway === "" ? "" : await page(8090, 30_000, "/prpc/Worker.Info?json");
    return {
      web: tokenOn(web),
      stowaway: tokenOn(stowaway),
      visits: Number(/visits: (\d+)/.exec(web)?.[1] ?? -1),
      measured: /compose_hash\W+([0-9a-f]{64})/.exec(about)?.[1] ?? "",
    };
  };
  const allow = async (manifest: ParsedAppCompose): Promise<void> => {
    const { osImageHash } = await readImageDirectory(join(layout.images, IMAGE));
    await changePolicyFile(localPolicy(layout), (policy) =>
      allowVersion(policy, {
        osImageHash: toHex(osImageHash ?? new Uint8Array()),
        deviceId: DEVELOPMENT_DEVICE_ID,
        appId,
        composeHash: toHex(manifest.composeHash),
      }),
    );
  };
  const mustRun = async (...args: string[]): Promise<void> => {
    const { code, stderr } = await deployment.cli(...args);
    if (code !== 0) throw new Error(`dstack ${args.join(" ")}: ${stderr}`);
  };
  return {
    look,
    create: async (first) => {
      appId = toHex(first.composeHash).slice(0, 40);
      await allow(first);
      const client = await deployment.context.vmm();
      ({ id } = await client.call(vmmMethods.createVm, {
        name: NAME,
        image: IMAGE,
        composeFile: new TextDecoder().decode(first.bytes),
        vcpu: 2,
        memory: 2048,
        diskSize: 5,
        simulatedTee: "dstack-tdx",
      }));
      await waitForBoot(client, id, BOOT);
    },
    reboot: async (how, next, cutAt) => {
      await mustRun("stop", NAME, ...(how === "power cut" ? ["--force"] : []));
      const client = await deployment.context.vmm();
      if (next !== undefined) {
        await allow(next);
        await client.call(vmmMethods.updateVm, { id, composeFile: new TextDecoder().decode(next.bytes) });
      }
      await mustRun("start", NAME);
      if (cutAt !== undefined) {
        const deadline = Date.now() + BOOT.timeoutMs;
        while ((await client.find(id)).bootProgress !== cutAt) {
          if (Date.now() > deadline) throw new Error(`the boot does not come to ${cutAt}`);
          await sleep(100);
        }
        await mustRun("stop", NAME, "--force");
        await mustRun("start", NAME);
      }
      await waitForBoot(client, id, BOOT);
    },
    watch: () => {
      const seen: Seen[] = [];
      const over = new AbortController();
      const watching = (async () => {
        while (!over.signal.aborted) {
          const now = await look();
          if (JSON.stringify(now) !== JSON.stringify(seen.at(-1))) seen.push(now);
          await sleep(200);
        }
      })();
      return {
        end: async () => {
          over.abort();
          await watching;
          return seen;
        },
      };
    },
  };
}
