/**
 * Which ports of an app are public. Forms: the registration's message, the `port_policy` of
 * app-compose.json (`{restrict_mode, ports: [{port, pp}]}`), and `tcb_info` of the guest agent
 * (JSON text with `app_compose`, itself JSON text).
 */
import { parseJson } from "@dstack/bytes";
import { z } from "zod";
import { GatewayError } from "../errors.ts";

export interface PortPolicy {
  /** False: any port. True: only those listed. */
  readonly restrict: boolean;
  /** Port to whether the app wants a PROXY header on it. */
  readonly ports: ReadonlyMap<number, boolean>;
}

export const OPEN_POLICY: PortPolicy = { restrict: false, ports: new Map() };

export const allowsPort = (policy: PortPolicy, port: number): boolean => !policy.restrict || policy.ports.has(port);

const MAX_PORTS = 65_535;

/** @throws GatewayError `port-policy-invalid` */
export function portPolicy(
  restrict: boolean,
  ports: readonly { readonly port: number; readonly pp: boolean }[],
): PortPolicy {
  if (ports.length > MAX_PORTS)
    throw new GatewayError("port-policy-invalid", `port policy lists ${ports.length} ports, at most ${MAX_PORTS}`);
  for (const { port } of ports) {
    if (port > 65_535) throw new GatewayError("port-policy-invalid", `port ${port} out of u16 range`);
    if (port === 0) throw new GatewayError("port-policy-invalid", "port must be between 1 and 65535");
  }
  return { restrict, ports: new Map(ports.map(({ port, pp }) => [port, pp])) };
}

const entry = z.object({ port: z.int().min(0), pp: z.boolean().default(false) });
/** Also the form in the gateway's own state. */
export const portPolicySchema = z.object({
  restrict_mode: z.boolean().default(false),
  ports: z.array(entry).default([]),
});
const composeSchema = z.object({ port_policy: portPolicySchema.nullish() });
const tcbInfoSchema = z.object({ app_compose: z.string() });

/**
 * The policy inside a guest agent's `tcb_info`. Empty text is a private CVM, and open like one without a policy.
 * @throws GatewayError `port-policy-invalid` when it cannot be read
 */
export function portPolicyFromTcbInfo(tcbInfo: string): PortPolicy {
  if (tcbInfo === "") return OPEN_POLICY;
  try {
    const compose = composeSchema.parse(parseJson(tcbInfoSchema.parse(parseJson(tcbInfo)).app_compose));
    const policy = compose.port_policy;
    return policy === undefined || policy === null ? OPEN_POLICY : portPolicy(policy.restrict_mode, policy.ports);
  } catch (cause) {
    throw new GatewayError(
      "port-policy-invalid",
      `port policy in tcb_info cannot be read: ${(cause as Error).message}`,
      { cause },
    );
  }
}

export function portPolicyToJson(policy: PortPolicy): z.output<typeof portPolicySchema> {
  return { restrict_mode: policy.restrict, ports: [...policy.ports].map(([port, pp]) => ({ port, pp })) };
}
