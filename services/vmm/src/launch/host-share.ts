import { removeIfExists, writeFileAtomic, writeSecret } from "@dstack/files";
import type { Launch } from "./prepare-launch.ts";
import { sysConfigText, teeSimulatorText } from "./sys-config.ts";

/** Writes what a guest reads about its host; done at every start, running or not. */
export async function writeHostShare(launch: Launch): Promise<void> {
  const { folder } = launch.vm;
  // The measured document names the instance, so the guest must find that very one.
  if (launch.binding.instanceInfo !== undefined) await folder.writeInstanceInfo(launch.binding.instanceInfo);
  await writeFileAtomic(folder.file.sysConfig, sysConfigText(launch));
  const simulator = await teeSimulatorText(launch);
  if (simulator === undefined) await removeIfExists(folder.file.teeSimulator);
  else await writeSecret(folder.file.teeSimulator, simulator);
}
