/** An Onboard service whose bootstrap is real and whose source is in this process. */
import type { Attestation } from "@dstack/attest";
import type { ReportData } from "@dstack/bytes";
import { secp256k1PublicKey } from "@dstack/keys";
import { createLogger } from "@dstack/log";
import { kms } from "@dstack/proto";
import { route, RpcError, type RpcService } from "@dstack/rpc";
import { bootstrap } from "../src/keys/bootstrap.ts";
import { installRootKeys, type RootKeys } from "../src/keys/install-root-keys.ts";
import { withLegacyEvidence } from "../src/onboard/legacy-evidence.ts";

export const silent = createLogger({ name: "test", stream: { write: () => true } });

/** Evidence that no verifier would take, told apart by its bytes. */
export const fakeAttest = (reportData: ReportData): Promise<Attestation> =>
  Promise.resolve({
    platform: { kind: "tdx", quote: Uint8Array.of(0xca, 0xfe), eventLog: [] },
    runtimeEvents: [{ event: "app-id", payload: Uint8Array.of(1) }],
    reportData,
    config: "{}",
  });

export interface SetupServiceOptions {
  readonly folder: string;
  /** Undefined: the source refuses us. */
  readonly source: RootKeys | undefined;
  readonly finish: () => Promise<void>;
}

export function setupService({ folder, source, finish }: SetupServiceOptions): RpcService<undefined, "set-up"> {
  const methods = kms.Onboard.method;
  const now = 1_764_000_000;
  const row = { auth: "set-up" } as const;
  return {
    prefixes: ["Onboard."],
    authenticate: () => Promise.resolve(undefined),
    log: silent,
    routes: [
      route(methods.bootstrap, {
        ...row,
        extendJson: withLegacyEvidence,
        handle: ({ domain }) => bootstrap({ folder, domain, now, attest: fakeAttest }),
      }),
      route(methods.onboard, {
        ...row,
        handle: async ({ sourceUrl, domain }) => {
          if (source === undefined)
            throw new RpcError("handler-failed", `Failed to onboard: ${sourceUrl}: Boot denied: <b>not allowed</b>`);
          await installRootKeys({ folder, domain, now, roots: source });
          return { k256Pubkey: secp256k1PublicKey(source.rootK256) };
        },
      }),
      route(methods.getAttestationInfo, {
        ...row,
        handle: () =>
          Promise.resolve({
            deviceId: Uint8Array.of(0xd1),
            mrAggregated: Uint8Array.of(0xa6),
            osImageHash: Uint8Array.of(0x05),
            teeVariant: "dstack-tdx",
            ppid: Uint8Array.of(0x99),
          }),
      }),
      route(methods.finish, {
        ...row,
        handle: async () => {
          await finish();
          return {};
        },
      }),
    ],
  };
}
