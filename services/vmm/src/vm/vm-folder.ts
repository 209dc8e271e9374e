import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { z } from "zod";
import { readIfExists, readTextIfExists, removeIfExists, writeFileAtomic, writeSecret } from "@dstack/files";
import { VmmError } from "../errors.ts";
import { parseKeptVersion, type AppVersion, type KeptVersion } from "./app-version.ts";
import { encodeManifest, parseManifest, type Manifest } from "./manifest.ts";
import { finishReplacement, prepareReplacement, type FileChange } from "./replace-files.ts";

/** What is remembered about a VM beside its manifest. Readers of other VMMs know `started` only. */
export interface KeptState {
  /** Whether it is meant to run. */
  readonly started: boolean;
  /** Why the guest refused to boot; such a VM is not restarted by itself. */
  readonly bootError: string;
}

export interface InstanceInfo {
  readonly appId: string;
  readonly instanceId: string;
  readonly instanceIdSeed: string;
}

const stateSchema = z.object({ started: z.boolean().default(false), boot_error: z.string().default("") });
const instanceSchema = z.object({
  app_id: z.string().default(""),
  instance_id: z.string().default(""),
  instance_id_seed: z.string().default(""),
});

/** Begins the name of a folder that is being deleted. */
export const GONE_PREFIX = ".gone-";

/** The folder of one VM: its files, their forms and their permissions. */
export function vmFolder(path: string) {
  const shared = join(path, "shared");
  const file = {
    manifest: join(path, "vm-manifest.json"),
    state: join(path, "vm-state.json"),
    removing: join(path, ".removing"),
    previousVersion: join(path, "previous-version.json"),
    compose: join(shared, "app-compose.json"),
    encryptedEnv: join(shared, ".encrypted-env"),
    userConfig: join(shared, ".user-config"),
    instanceInfo: join(shared, ".instance_info"),
    sysConfig: join(shared, ".sys-config.json"),
    teeSimulator: join(shared, ".tee-simulator.json"),
    disk: join(path, "hda.img"),
    channelSocket: join(path, "channel.sock"),
    serialLog: join(path, "serial.log"),
    stdoutLog: join(path, "stdout.log"),
    stderrLog: join(path, "stderr.log"),
    pidFile: join(path, "qemu.pid"),
    serialPty: join(path, "serial.pty"),
    qmpSocket: join(path, "qmp.sock"),
    runtimeNetworks: join(path, "runtime-networks.json"),
  } as const;
  return {
    path,
    shared,
    file,
    create: async (): Promise<void> => {
      await mkdir(path, { recursive: false, mode: 0o700 });
      await mkdir(shared, { mode: 0o700 });
    },
    /** Away at once under a hidden name, then file by file: what a kill leaves of it is never taken for a VM. */
    remove: async (): Promise<void> => {
      const gone = join(dirname(path), `${GONE_PREFIX}${basename(path)}`);
      await rm(gone, { recursive: true, force: true });
      try {
        await rename(path, gone);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
      await rm(gone, { recursive: true, force: true });
    },
    /** @throws VmmError `vm-broken` */
    readManifest: async (): Promise<Manifest> => {
      const text = await readTextIfExists(file.manifest);
      if (text === undefined) throw new VmmError("vm-broken", `${file.manifest} is missing`);
      return parseManifest(text);
    },
    writeManifest: (manifest: Manifest): Promise<void> => writeFileAtomic(file.manifest, encodeManifest(manifest)),
    readState: async (): Promise<KeptState> => {
      const text = await readTextIfExists(file.state);
      if (text === undefined) return { started: false, bootError: "" };
      const parsed = stateSchema.safeParse(jsonOrUndefined(text));
      if (!parsed.success) throw new VmmError("vm-broken", `${file.state} is damaged`);
      return { started: parsed.data.started, bootError: parsed.data.boot_error };
    },
    writeState: ({ started, bootError }: KeptState): Promise<void> =>
      writeFileAtomic(file.state, JSON.stringify({ started, ...(bootError === "" ? {} : { boot_error: bootError }) })),
    readInstanceInfo: async (): Promise<InstanceInfo> => {
      const parsed = instanceSchema.safeParse(jsonOrUndefined((await readTextIfExists(file.instanceInfo)) ?? "{}"));
      if (!parsed.success) throw new VmmError("vm-broken", `${file.instanceInfo} is damaged`);
      return {
        appId: parsed.data.app_id,
        instanceId: parsed.data.instance_id,
        instanceIdSeed: parsed.data.instance_id_seed,
      };
    },
    writeInstanceInfo: (info: Partial<InstanceInfo>): Promise<void> =>
      writeFileAtomic(
        file.instanceInfo,
        JSON.stringify({
          ...(info.instanceIdSeed === undefined ? {} : { instance_id_seed: info.instanceIdSeed }),
          ...(info.instanceId === undefined ? {} : { instance_id: info.instanceId }),
          ...(info.appId === undefined ? {} : { app_id: info.appId }),
        }),
      ),
    readCompose: (): Promise<Uint8Array | undefined> => readIfExists(file.compose),
    /** The very bytes: they are what the guest measures. */
    writeCompose: (bytes: Uint8Array): Promise<void> => writeFileAtomic(file.compose, bytes),
    writeEncryptedEnv: (bytes: Uint8Array): Promise<void> => writeSecret(file.encryptedEnv, bytes),
    writeUserConfig: (text: string): Promise<void> => writeSecret(file.userConfig, text),
    /** Undefined where there is no compose file. */
    readVersion: async (manifest: Manifest): Promise<AppVersion | undefined> => {
      const compose = await readIfExists(file.compose);
      if (compose === undefined) return undefined;
      const [encryptedEnv, userConfig] = [await readIfExists(file.encryptedEnv), await readIfExists(file.userConfig)];
      return { compose, encryptedEnv, userConfig, manifest };
    },
    /** @throws VmmError `vm-broken` */
    readPreviousVersion: async (): Promise<KeptVersion | undefined> => {
      const text = await readTextIfExists(file.previousVersion);
      return text === undefined ? undefined : parseKeptVersion(text);
    },
    /** Several files, all or none; paths are those of `file`. @see finishChange */
    prepareChange: (changes: readonly FileChange[]): Promise<void> =>
      prepareReplacement(
        path,
        changes.map((change) => ({ ...change, path: relative(path, change.path) })),
      ),
    /** Puts prepared files in place; to be called before anything is read of a folder that a killed VMM left. */
    finishChange: (): Promise<void> => finishReplacement(path),
    /** Empties what an earlier run of QEMU left behind. */
    clearRuntimeFiles: async (): Promise<void> => {
      for (const leftover of [file.serialPty, file.qmpSocket, file.channelSocket]) await removeIfExists(leftover);
    },
    hasDisk: async (): Promise<boolean> => (await stat(file.disk).catch(() => undefined)) !== undefined,
  };
}

export type VmFolder = ReturnType<typeof vmFolder>;

/** Names of the folders below `runPath`; hidden ones are no VMs. */
export async function listVmFolders(runPath: string): Promise<string[]> {
  const entries = await readdir(runPath, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .map((entry) => entry.name)
    .sort();
}

function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Its reader names the file.
  }
}
