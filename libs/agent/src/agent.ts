import { REVISION, WIRE_VERSION } from "@dstack/proto/wire";
import { demoCertificate, type DemoCertificate } from "./demo-certificate.ts";
import type { AgentPorts } from "./ports.ts";

/** An agent that can answer: its ports, and the certificate that it shows of itself. */
export interface Agent extends AgentPorts {
  readonly demo: DemoCertificate;
}

/** What `Version` answers: the version of the interface, not of this program. */
export const AGENT_VERSION = { version: WIRE_VERSION, rev: REVISION ?? "" } as const;

/** An agent on these ports. It does nothing by itself; `listen` opens its sockets. */
export const createAgent = (ports: AgentPorts): Agent => ({ ...ports, demo: demoCertificate(ports) });
