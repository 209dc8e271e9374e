import { errorChain } from "@dstack/errors";
import { generateP256 } from "@dstack/keys";
import type { AgentPorts } from "./ports.ts";

/** A certificate that shows the app's evidence to whoever asks for `Info`. */
export interface DemoCertificate {
  /** PEM chain, or "" while there is none; asking starts getting one. */
  current(): string;
}

const RETRY_S = 60;

export function demoCertificate({ issuer, log, now }: Pick<AgentPorts, "issuer" | "log" | "now">): DemoCertificate {
  let chain = "";
  let nextTry = 0;
  const request = async (): Promise<void> => {
    const issued = await issuer.issue(generateP256(), {
      subject: "demo-cert",
      altNames: [],
      serverAuth: false,
      clientAuth: true,
      withEvidence: true,
      withAppInfo: false,
    });
    chain = issued.join("\n");
  };
  return {
    current: () => {
      if (chain === "" && now() >= nextTry) {
        nextTry = now() + RETRY_S;
        request().catch((error: unknown) => log.warn({ error: errorChain(error) }, "no demo certificate yet"));
      }
      return chain;
    },
  };
}
