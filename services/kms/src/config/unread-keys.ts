/**
 * The keys of released kms.toml files that this KMS does not act on, each with what becomes of a
 * file that sets it. Refused is what somebody would feel protected by; told, what somebody may wait
 * for; silent, what only tunes a part that is built differently here.
 */
import { z } from "zod";
import { refused, silent, told, type UnreadKey } from "@dstack/config";

const text = z.string();
const count = z.int().min(0);
const ONE_PROCESS = "one process without thread pools serves";
const TDX_ALONE = "this KMS verifies evidence of TDX alone, and refuses all other";

export const UNREAD_KEYS: readonly UnreadKey[] = [
  told("log_level", text, ["info"], "DSTACK_LOG_LEVEL alone sets the level of the log"),
  ...["workers", "max_blocking", "keep_alive"].map((name) => silent(`default.${name}`, count, ONE_PROCESS)),
  ...["ident", "temp_dir"].map((name) => silent(`default.${name}`, text, ONE_PROCESS)),
  told("default.log_level", text, ["info"], "DSTACK_LOG_LEVEL alone sets the level of the log"),
  refused(
    "rpc.tls.mutual.mandatory",
    z.boolean(),
    [false],
    "anybody may have a client certificate of the temporary CA, so none is required, and callers are told apart by their evidence",
  ),
  silent("core.subject_postfix", text, "the reference does not read it either"),
  silent("core.gpu.enabled", z.boolean(), "the reference does not read it either"),
  told("core.sev_snp_key_release", z.boolean(), [false], TDX_ALONE),
  told("core.aws_nitro_tpm_key_release", z.boolean(), [false], TDX_ALONE),
  told("core.attestation.urls.amd_kds", text, ["", "https://kdsintf.amd.com/vcek/v1"], TDX_ALONE),
  ...["gcp_tpm", "aws_nitro_enclave", "aws_nitro_tpm", "sev_snp_milan", "sev_snp_genoa", "sev_snp_turin"].map((name) =>
    told(`core.attestation.root_ca.${name}`, text, [], TDX_ALONE),
  ),
];
