import { AttestError, parseKeyProviderInfo, type AppInfo, type KeyProviderInfo } from "@dstack/attest";

/** Who released the app's keys, as measured; undefined where no event says it in a form that is known. */
export function keyProviderOf({ keyProviderInfo }: AppInfo): KeyProviderInfo | undefined {
  if (keyProviderInfo.length === 0) return undefined;
  try {
    return parseKeyProviderInfo(keyProviderInfo);
  } catch (error) {
    if (error instanceof AttestError) return undefined;
    throw error;
  }
}
