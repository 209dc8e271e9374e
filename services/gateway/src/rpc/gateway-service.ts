import { WIRE_VERSION } from "@dstack/proto/wire";
import type { Certificate } from "@dstack/attest";
import type { Logger } from "@dstack/log";
import { gateway } from "@dstack/proto";
import { assertNever, errorChain, excerpt } from "@dstack/errors";
import { route, RpcError, type Route, type RpcCall, type RpcService } from "@dstack/rpc";
import { formatIpv4, formatNetwork } from "@dstack/wireguard";
import type { GatewayConfig } from "../config/gateway-config.ts";
import { GatewayError } from "../errors.ts";
import { identifyClient, requireApp, type ClientIdentity, type EvidenceVerifier } from "../identity/client-identity.ts";
import { acmeInfo, nodeInfo } from "../node-info.ts";
import type { Certificates } from "../proxy/certificates.ts";
import type { Instance } from "../registration/instance.ts";
import { portPolicy } from "../registration/port-policy.ts";
import type { RegistrationRequest } from "../registration/registry.ts";

export interface GatewayServiceOptions {
  readonly config: GatewayConfig;
  readonly uuid: string;
  readonly roots: readonly Certificate[];
  /** App id in this gateway's own RPC certificate. */
  readonly ownAppId: () => Uint8Array | undefined;
  readonly verifyEvidence: EvidenceVerifier | undefined;
  readonly certificates: Certificates;
  /** Registers, and returns once the registration is on disk and WireGuard was told. */
  readonly register: (request: RegistrationRequest) => Promise<Instance>;
  readonly countRegistration: (outcome: "accepted" | "refused") => void;
  readonly now: () => number;
  readonly log: Logger;
}

/** `registrant`: a certificate of the KMS with an app's identity. `peer`: one with the gateway's own app id. */
type Auth = "anybody" | "registrant" | "peer";
type Caller = ClientIdentity | undefined;

const REGISTER_BODY_BYTES = 1024 * 1024;
const SMALL_BODY_BYTES = 64 * 1024;

export function gatewayService(options: GatewayServiceOptions): RpcService<Caller, Auth> {
  return {
    prefixes: ["Tproxy.", "Gateway."],
    routes: routes(options),
    authenticate: (auth, call) => authenticate(options, auth, call),
    log: options.log,
  };
}

async function authenticate(options: GatewayServiceOptions, auth: Auth, call: RpcCall): Promise<Caller> {
  const now = Math.floor(options.now() / 1_000);
  try {
    switch (auth) {
      case "anybody":
        return undefined;
      case "registrant":
        return await identifyClient(call.peerCertificates, {
          roots: options.roots,
          now,
          verifyEvidence: options.verifyEvidence,
        });
      case "peer":
        if (!options.config.skipAttestation)
          requireApp(call.peerCertificates, options.ownAppId(), { roots: options.roots, now });
        return undefined;
      default:
        return assertNever(auth);
    }
  } catch (cause) {
    if (auth === "registrant") {
      options.countRegistration("refused");
      options.log.warn(
        {
          method: call.method,
          remote: call.remoteAddress,
          requestId: call.requestId,
          reason: excerpt(errorChain(cause)),
        },
        "RegisterCvm refused",
      );
    }
    throw asRpcError(cause, "unauthenticated");
  }
}

function routes(options: GatewayServiceOptions): Route<Caller, Auth>[] {
  const { config, certificates } = options;
  const { proxy, sync } = config.raw.core;
  const baseDomain = config.staticCertificate?.baseDomain ?? "";
  const externalPort = baseDomain === "" ? 0 : proxy.external_port;
  const { method } = gateway.Gateway;
  return [
    route(method.registerCvm, {
      auth: "registrant",
      bodyLimitBytes: REGISTER_BODY_BYTES,
      handle: async (request, caller: Caller, call) => {
        const instance = await register(options, request, caller, call);
        const node = nodeInfo(config, options.uuid, Math.floor(options.now() / 1_000));
        return {
          wg: {
            clientIp: formatIpv4(instance.address),
            servers: [
              {
                pk: config.wireGuard.publicKey,
                ip: formatNetwork(config.wireGuard.ip),
                endpoint: config.wireGuard.endpoint,
              },
            ],
          },
          agent: {
            externalPort,
            internalPort: config.agentPort,
            domain: baseDomain,
            appAddressNsPrefix: proxy.app_address_ns_prefix,
          },
          gateways: [node],
        };
      },
    }),
    route(method.acmeInfo, {
      auth: "anybody",
      bodyLimitBytes: SMALL_BODY_BYTES,
      handle: async () => acmeInfo(baseDomain, certificates.current),
      extendJson: (json) => ({ ...json, active_cert: acmeInfo(baseDomain, certificates.current).activeCert }),
    }),
    route(method.info, {
      auth: "anybody",
      bodyLimitBytes: SMALL_BODY_BYTES,
      handle: async () => ({
        baseDomain,
        externalPort,
        appAddressNsPrefix: proxy.app_address_ns_prefix,
        version: WIRE_VERSION,
      }),
    }),
    route(method.getPeers, {
      auth: "peer",
      bodyLimitBytes: SMALL_BODY_BYTES,
      handle: async () => ({ myId: sync.node_id, myUrl: sync.my_url, peers: [{ id: sync.node_id, url: sync.my_url }] }),
    }),
  ];
}

async function register(
  options: GatewayServiceOptions,
  request: gateway.RegisterCvmRequest,
  caller: Caller,
  call: RpcCall,
): Promise<Instance> {
  try {
    if (caller === undefined) throw new GatewayError("identity-missing", "neither app-info nor attestation provided");
    const instance = await options.register({
      ...caller,
      publicKey: request.clientPublicKey,
      portPolicy:
        request.portPolicy === undefined
          ? undefined
          : portPolicy(request.portPolicy.restrictMode, request.portPolicy.ports),
    });
    options.countRegistration("accepted");
    options.log.info(
      {
        method: "RegisterCvm",
        app_id: instance.appId,
        instance_id: instance.instanceId,
        ip: formatIpv4(instance.address),
        compose_hash: instance.composeHash,
        requestId: call.requestId,
      },
      `RegisterCvm app ${instance.appId} instance ${instance.instanceId} at ${formatIpv4(instance.address)}`,
    );
    return instance;
  } catch (cause) {
    options.countRegistration("refused");
    options.log.warn(
      {
        method: "RegisterCvm",
        app_id: caller?.appId,
        instance_id: caller?.instanceId,
        requestId: call.requestId,
        reason: excerpt(errorChain(cause)),
      },
      "RegisterCvm refused",
    );
    throw asRpcError(cause, "handler-failed");
  }
}

/** Expected refusals travel as RPC errors with their causes; anything else is a fault of ours and logged as one. */
function asRpcError(cause: unknown, code: "unauthenticated" | "handler-failed"): unknown {
  if (!(cause instanceof GatewayError)) return cause;
  return new RpcError(code, cause.message, cause.cause === undefined ? {} : { cause: cause.cause });
}
