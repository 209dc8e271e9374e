import { askKeyProvider, KeyProviderError, type KeyProviderAnswer } from "@dstack/key-provider";
import { VmmError } from "../errors.ts";

/**
 * Carries a guest's question to the local key provider and the answer back. The host reads neither: the quote is
 * public, the key is sealed for the guest.
 * @throws VmmError `unsupported`, `request-invalid`, `guest-unreachable`
 */
export async function relayToKeyProvider(
  config: { enabled: boolean; address: string; port: number },
  quote: Uint8Array,
): Promise<KeyProviderAnswer> {
  if (!config.enabled) throw new VmmError("unsupported", "Key provider is not enabled");
  try {
    return await askKeyProvider(config, quote);
  } catch (cause) {
    if (cause instanceof KeyProviderError && cause.code === "quote-too-long")
      throw new VmmError("request-invalid", "Quote is too long", { cause });
    throw new VmmError("guest-unreachable", "Failed to get sealing key from key provider", { cause });
  }
}
