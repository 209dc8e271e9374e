import { equalBytes, parseHex, toHex } from "@dstack/bytes";
import { fail, notApplicable, notBound, pass, type AppInfo, type Check, type Outcome } from "@dstack/attest";
import { publicKeyInfoOf } from "./certificates.ts";
import { environmentOf, rootOfTrust, type VerifyContext } from "./context.ts";
import { describeApp, judgeAccount, judgeCertificateKey, listedKey, type QuotedKey } from "./gateway-keys.ts";
import { expectations, identityOutcome, type AppExpectations } from "./judge-app.ts";
import { concludeResult, NO_IDENTITY, type VerifyResult } from "./result.ts";
import type { Fact } from "./fact.ts";
import type { GatewaySubject } from "./subject.ts";

export interface JudgeGatewayOptions {
  readonly context: VerifyContext;
  readonly expected: Omit<AppExpectations, "kmsRootPem">;
  readonly accept: readonly string[];
}

const REQUIRED = ["served-key"];
/** Each key has a quote to verify; a list beyond this is not one of a gateway that renews a few times a year. */
const MAX_KEYS = 64;

/** Judges a gateway by its list of keys: the one that is served, those before it, and the ACME account. */
export async function judgeGateway(
  { url, certificates, acme_info: info }: GatewaySubject,
  { context, expected, accept }: JudgeGatewayOptions,
): Promise<VerifyResult> {
  const [leaf] = certificates;
  const served = leaf === undefined ? undefined : publicKeyInfoOf(leaf);
  const judged: { readonly key: Uint8Array; readonly outcome: QuotedKey }[] = [];
  for (const { public_key, quote } of info.quoted_hist_keys.slice(0, MAX_KEYS)) {
    const key = parseHex(public_key);
    judged.push({ key, outcome: await judgeCertificateKey(key, quote, context) });
  }
  const own = judged.find(({ key }) => served !== undefined && equalBytes(key, served));
  const app = own?.outcome.kind === "verified" ? own.outcome.appInfo : undefined;
  const checks: Check[] = [
    { name: "root-of-trust", ...rootOfTrust(context) },
    {
      name: "served-key",
      ...servedKey(served, served !== undefined && listedKey(info, served) !== undefined, own?.outcome),
    },
    ...judged
      .filter((entry) => entry !== own)
      .map(({ key, outcome }): Check => ({ name: "earlier-key", ...earlierKey(key, outcome, app) })),
    { name: "acme-account", ...(await account(info.account_uri, info.account_quote, app, context)) },
  ];
  if (info.quoted_hist_keys.length > MAX_KEYS)
    checks.push({
      name: "earlier-key",
      ...notBound(
        `${info.quoted_hist_keys.length - MAX_KEYS} more keys are listed; only the first ${MAX_KEYS} were looked at`,
      ),
    });
  if (app !== undefined) {
    checks.push({ name: "identity", ...identityOutcome(expected, app) }, ...expectations(expected, app));
  }

  const facts: Fact[] = [
    { name: "base domain", value: info.base_domain === "" ? "not named" : info.base_domain },
    { name: "ACME account", value: info.account_uri === "" ? "none" : info.account_uri },
    {
      name: "keys",
      value: `${judged.filter(({ outcome }) => outcome.kind === "verified").length} of ${info.quoted_hist_keys.length} are bound by quotes`,
    },
  ];
  const identity =
    app === undefined
      ? NO_IDENTITY
      : {
          ...NO_IDENTITY,
          appId: toHex(app.appId),
          composeHash: toHex(app.composeHash),
          osImageHash: toHex(app.osImageHash),
        };
  return concludeResult(
    {
      kind: "gateway",
      what: url,
      environment: environmentOf(context),
      checks,
      required: REQUIRED,
      sections: [{ title: "Gateway", facts }],
      identity,
    },
    accept,
  );
}

function servedKey(served: Uint8Array | undefined, listed: boolean, outcome: QuotedKey | undefined): Outcome {
  if (served === undefined) return fail("the server showed no certificate");
  const name = `key ${toHex(served).slice(-32)}`;
  if (outcome === undefined)
    return listed
      ? notBound(`${name} is listed, but too far down to be looked at`)
      : fail(`${name} of the certificate that is served is not among those that the gateway lists`);
  switch (outcome.kind) {
    case "verified":
      return pass(`${name} is served, listed, and named by a quote`);
    case "unquoted":
      return notBound(`${name} is served and listed without a quote: the gateway may run outside a TEE`);
    case "undecided":
      return notBound(`${name} is served, but its quote cannot be judged: ${outcome.reason}`);
    case "refused":
      return fail(`${name} is served, but its quote does not hold: ${outcome.reason}`);
  }
}

function earlierKey(key: Uint8Array, outcome: QuotedKey, app: AppInfo | undefined): Outcome {
  const name = `key ${toHex(key).slice(-32)}`;
  switch (outcome.kind) {
    case "verified":
      return app === undefined || equalBytes(outcome.appInfo.appId, app.appId)
        ? pass(`${name}: ${describeApp(outcome.appInfo)}`)
        : fail(`${name} is of another app: ${describeApp(outcome.appInfo)}`);
    case "unquoted":
      return notBound(`${name} is listed without a quote`);
    case "undecided":
    case "refused":
      // Quotes of long ago may be of platforms and images that nobody vouches for any more.
      return notBound(`${name}: its quote does not hold now: ${outcome.reason}`);
  }
}

async function account(uri: string, quote: string, app: AppInfo | undefined, context: VerifyContext): Promise<Outcome> {
  if (uri === "") return notApplicable("the gateway has no ACME account: its certificate was given to it");
  const judged = await judgeAccount(uri, quote, context);
  switch (judged.kind) {
    case "verified":
      return app === undefined || equalBytes(judged.appInfo.appId, app.appId)
        ? pass(`${uri} is held by ${describeApp(judged.appInfo)}; allow no other account in the domain's CAA record`)
        : fail(`${uri} is held by another app: ${describeApp(judged.appInfo)}`);
    case "unquoted":
      return notBound(`${uri} without a quote`);
    case "undecided":
      return notBound(`the quote for ${uri} cannot be judged: ${judged.reason}`);
    case "refused":
      return fail(`the quote for ${uri} does not hold: ${judged.reason}`);
  }
}
