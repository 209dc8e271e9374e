import { readFile } from "node:fs/promises";
import type { Machine } from "@dstack/agent";
import { dockerApi, listContainers } from "../app/docker-api.ts";
import type { ImageInfo } from "../system/image-info.ts";
import { readSystemInfo } from "./system-info.ts";

export interface GuestMachineOptions {
  readonly image: ImageInfo;
  readonly dockerSocket: string;
  /** Mount points that count as the guest's disks. */
  readonly dataDisks: readonly string[];
}

/** This machine, as the agent shows it. */
export function guestMachine({ image, dockerSocket, dataDisks }: GuestMachineOptions): Machine {
  const docker = dockerApi(dockerSocket);
  return {
    product: async () => ({ vendor: await dmi("sys_vendor"), name: await dmi("product_name") }),
    systemInfo: () => readSystemInfo(image, dataDisks),
    containers: () => listContainers(docker),
  };
}

/** A word of the firmware about the machine; empty where it has none. */
const dmi = (name: string): Promise<string> =>
  readFile(`/sys/class/dmi/id/${name}`, "utf8").then(
    (text) => text.trim(),
    () => "",
  );
