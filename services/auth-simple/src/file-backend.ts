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
    fault: async () => (await file.current()).configError,
    decide: async (kind, boot) => {
      const { config, configError } = await file.current();
      const decision = decide(config, kind, boot);
      const isAnyKms = decision.isAllowed && kind === "kms" && config.kms.mrAggregated === "any";
      const warnings = [
        // A permission that was just taken back may still be in force.
        ...(configError === undefined
          ? []
          : [`decided by the policy before, since the file cannot be used: ${configError}`]),
        ...(isAnyKms ? [`KMS ${boot.mrAggregated} is allowed because kms.mrAggregated is absent`] : []),
      ];
      const warning = warnings.length === 0 ? undefined : warnings.join("; ");
      if (!decision.isAllowed)
        return { ...decision, gatewayAppId: config.gatewayAppId, ...(warning === undefined ? {} : { warning }) };
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
