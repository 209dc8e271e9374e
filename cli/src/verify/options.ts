import { Option } from "@commander-js/extra-typings";
import { examples, output, repeatable, type OptionsOf, type Parent } from "../terminal/options.ts";

/** What the commands of verification are called with. */

/** What every kind of evidence is judged with. */
const judging = <Usage extends string>(parent: Parent, usage: Usage) =>
  parent
    .command(usage)
    .option("--time <rfc3339>", "judge it at this time instead of now")
    .option("--root <pem>", "root certificate that TDX quotes must chain to, instead of Intel's")
    .addOption(repeatable("--pccs <url>", "where to fetch collateral; several are tried in order"))
    .option("--collateral <file>", "use this collateral and fetch none (see dstack collateral fetch)")
    .option(
      "--policy <file>",
      "demands on the platform, in JSON (see dstack verify quote); without accepted_statuses only UpToDate will do",
    )
    .option("--image-dir <dir>", "guest OS image to compare the measurements with")
    .option("--image-url <url>", "where to download guest OS images, with {OS_IMAGE_HASH} in it")
    .option("--app-id <hex>", "the app id that must be measured")
    .option("--compose-hash <hex>", "the compose hash that must be measured")
    .option("--os-image-hash <hex>", "the OS image that must be measured")
    .addOption(
      repeatable("--accept <check>", "take a check that is not bound upon yourself (may be given several times)"),
    )
    .addOption(output());

export const verifyCommand = (parent: Parent) =>
  judging(parent, "verify [what]")
    .summary("check the evidence of an app, a KMS, a gateway or a file")
    .description(
      "Check an app by https:// URL, id or name, or a file: an evidence bundle, or a guest's GetQuote answer. Each check is pass, fail, not applicable or not bound, with its reason. Exit code 3 where one fails, or where something that a verdict needs is not bound.",
    )
    .option("--cacert <pem>", "certificate authority of the gateway's TLS certificate")
    .option("--kms-ca <pem>", "root CA certificate of the KMS that must have released the keys")
    .option(
      "--kms <url>",
      "ask this KMS who may change the app and which gateway is its own; believed only where it is the app's KMS",
    )
    .option("--gateway-app-id <hex>", "the app id of the gateway that may hold the TLS key")
    .option("--save <file>", "write a bundle that the same can be checked with later, offline")
    .addHelpText(
      "before",
      examples([
        "dstack verify hello",
        "dstack verify https://<app-id>.dstack.localhost:9443/",
        "dstack verify https://<app-id>-443s.apps.example.org/ --save bundle.json",
        "dstack verify bundle.json --time 2026-03-01T00:00:00Z",
      ]),
    );
export type VerifyOptions = OptionsOf<typeof verifyCommand>;

export const verifyKmsCommand = (parent: Parent) =>
  judging(parent, "kms <url>")
    .summary("check a KMS by the evidence in its certificate")
    .description(
      "Check that a KMS runs in a TEE and which code it is: the evidence in its certificate, its root CA, and the evidence that its root keys were made in a TEE.",
    )
    .option("--save <file>", "write a bundle that the same can be checked with later, offline")
    .addHelpText(
      "before",
      examples([
        "dstack verify kms https://kms.example.org:9201",
        "dstack verify kms https://kms.example.org:9201 --os-image-hash <hex> --compose-hash <hex>",
      ]),
    );
export type VerifyKmsOptions = OptionsOf<typeof verifyKmsCommand>;

export const verifyGatewayCommand = (parent: Parent) =>
  judging(parent, "gateway <url>")
    .summary("check a gateway by the quotes for its certificate keys")
    .description(
      "Check that the key of the certificate that a gateway serves, and its ACME account, are bound by quotes.",
    )
    .option("--cacert <pem>", "certificate authority of the gateway's TLS certificate")
    .option("--save <file>", "write a bundle that the same can be checked with later, offline")
    .addHelpText(
      "before",
      examples([
        "dstack verify gateway https://gateway.apps.example.org",
        "dstack verify gateway https://gateway.apps.example.org --app-id <hex>",
      ]),
    );
export type VerifyGatewayOptions = OptionsOf<typeof verifyGatewayCommand>;

export const verifyQuoteCommand = (parent: Parent) =>
  parent
    .command("quote")
    .summary("check a quote file with a collateral file")
    .description(
      "All steps of DCAP verification on files, without a network: v3 SGX, v4 and v5. Exit code 3 where a check fails.",
    )
    .requiredOption("--quote <file>", "quote, binary or hex")
    .requiredOption(
      "--collateral <file>",
      "collateral in the JSON form that tools exchange (see dstack collateral fetch)",
    )
    .option("--time <rfc3339>", "judge it at this time instead of now")
    .option("--root <pem>", "root certificate that everything must chain to, instead of Intel's")
    .option(
      "--policy <file>",
      "demands on the platform and the age of documents, in JSON: accepted_statuses, grace_days, accepted_advisories, accepted_ppids, denied_ppids, accepted_fmspcs, min_tcb_evaluation_number, max_collateral_age",
    )
    .addOption(
      new Option("--tcb-rules <rules>", "whose rules match TCB levels and merge their status")
        .choices(["intel", "reference"])
        .default("intel"),
    )
    .addOption(output())
    .addHelpText(
      "before",
      examples([
        "dstack verify quote --quote quote.bin --collateral collateral.json",
        "dstack verify quote --quote quote.hex --collateral collateral.json --time 2026-03-01T00:00:00Z -o json",
      ]),
    );
export type VerifyQuoteOptions = OptionsOf<typeof verifyQuoteCommand>;
