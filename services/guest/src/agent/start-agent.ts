/**
 * agent/ puts the agent of @dstack/agent on this machine.
 * In: the manifest, the app's keys, the TEE, the issuer of certificates.
 * Out: an agent that answers on /run/dstack.sock, /run/tappd.sock and port 8090; facts of /proc and /sys for it.
 * Never: what is asked and answered; that is the library's, the same for whoever plays a guest.
 */
import { createAgent, listen, type Agent, type AgentPorts } from "@dstack/agent";
import type { Listen } from "@dstack/rpc";
import type { BootInputs } from "../host/boot-inputs.ts";
import type { BootContext } from "../system/boot-context.ts";
import type { ImageInfo } from "../system/image-info.ts";
import { guestMachine } from "./guest-machine.ts";

export interface StartAgentOptions extends Pick<AgentPorts, "keys" | "tee" | "issuer"> {
  readonly image: ImageInfo;
  /** Port 8090 of every address where it is undefined. */
  readonly publicListen: Listen | undefined;
}

/** Opens the agent's sockets. @throws Error with the system's code when one cannot be bound */
export async function startAgent(
  { paths, log, now, onShutdown }: BootContext,
  { manifest, systemConfig }: BootInputs,
  options: StartAgentOptions,
): Promise<Agent> {
  const { image, keys, tee, issuer, publicListen } = options;
  const agent = createAgent({
    keys,
    tee,
    issuer,
    manifest,
    vmConfig: systemConfig.vmConfig,
    machine: guestMachine({ image, dockerSocket: paths.dockerSocket, dataDisks: ["/", paths.persistent] }),
    log: log.child({ part: "agent" }),
    now,
  });
  const listeners = await listen(agent, {
    folder: paths.sockets,
    ...(publicListen === undefined ? {} : { publicListen }),
  });
  onShutdown(() => listeners.close());
  return agent;
}
