import { message, type Message } from "../wire-client.ts";

/** What a KMS asks a webhook. */
export const BOOT = {
  mrAggregated: "11".repeat(32),
  osImageHash: "22".repeat(32),
  appId: "33".repeat(20),
  composeHash: "44".repeat(32),
  instanceId: "55".repeat(20),
  deviceId: "66".repeat(32),
  tcbStatus: "UpToDate",
};

export const bootQuestion = (path: string) => (): Message =>
  message("POST", path, JSON.stringify(BOOT), { "content-type": "application/json" });

/** For both routes that decide. */
export const BOOT_SEEDS = Object.fromEntries(
  ["/bootAuth/app", "/bootAuth/kms"].map((path) => [path, bootQuestion(path)]),
);
