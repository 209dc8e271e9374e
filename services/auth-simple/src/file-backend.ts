import { decide, parseBootInfo } from "@dstack/governance";
import type { WebhookBackend } from "@dstack/governance/webhook";
import type { ConfigFile } from "./config-file.ts";

/** Decides by the configuration file as it is at the time of each request. */
export function fileBackend(file: ConfigFile): WebhookBackend {
  return {
    info: async () => {
      const { config, configError } = await file.current();
      return {
        kmsContractAddr: config.kmsContractAddr,
        gatewayAppId: config.gatewayAppId,
        chainId: config.chainId,
        appAuthImplementation: config.appImplementation,
        appImplementation: config.appImplementation,
        configError,
      };
    },
    parse: parseBootInfo,
    decide: async (kind, boot) => {
      const { config } = await file.current();
      const decision = decide(config, kind, boot);
      if (!decision.isAllowed) return { ...decision, gatewayAppId: config.gatewayAppId };
      const warning =
        kind === "kms" && config.kms.mrAggregated === "any"
          ? `KMS ${boot.mrAggregated} is allowed because kms.mrAggregated is absent`
          : undefined;
      return {
        isAllowed: true,
        reason: "",
        gatewayAppId: config.gatewayAppId,
        ...(warning === undefined ? {} : { warning }),
      };
    },
    malformed: ({ code, message }) => ({ success: false, error: { name: code, message } }),
    failure: (error) => (error instanceof Error ? error.message : "decision failed"),
  };
}
