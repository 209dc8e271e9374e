import { errorChain } from "@dstack/errors";
import { fetchRootKeys, type FetchOptions } from "../src/onboard/fetch-root-keys.ts";

/** What an onboarding says of a source with which no connection comes about, so that nothing else is looked at. */
export async function refusalOfSource(sourceUrl: string): Promise<string> {
  const options = { sourceUrl, now: 0, signal: AbortSignal.timeout(10_000) } as FetchOptions;
  try {
    await fetchRootKeys(options);
  } catch (error) {
    return errorChain(error);
  }
  return "taken over";
}
