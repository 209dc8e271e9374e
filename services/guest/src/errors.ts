import { CodedError, type ErrorTable } from "@dstack/errors";

export const GUEST_ERRORS = {
  "host-share-invalid": {
    meaning: "what the host handed over is missing, too large or of the wrong kind",
    next: "nothing to do in the app: deploy it again, so that the VMM writes the files anew (`dstack deploy`)",
  },
  "config-invalid": {
    meaning: "a file or kernel option that the guest reads cannot be used",
    next: "change what the text names in the VMM's configuration or the manifest and `dstack deploy` again",
  },
  "policy-refused": {
    meaning: "the app's manifest breaks the policy that it is measured with",
    next: "change the manifest where the text says and `dstack deploy` again",
  },
  unsupported: {
    meaning: "the manifest asks for what this guest image does not do",
    next: "leave out of the manifest what the text names, or take another image (`dstack image list`), and `dstack deploy` again",
  },
  "time-unsynced": {
    meaning: "the manifest wants a secure time and no time server answered",
    next: "let the host pass UDP port 123, or leave out secure_time and `dstack deploy` again; then `dstack start`",
  },
  "keys-refused": {
    meaning: "the keys come from another provider than the app pins",
    next: "`dstack auth explain` shows the rule and the command that changes it; a pinned key_provider_id is changed in the manifest",
  },
  "keys-unavailable": {
    meaning: "no KMS or key provider gave the keys",
    next: "`dstack verify kms` from the VM's host shows whether it answers; then `dstack start`",
  },
  "keys-invalid": {
    meaning: "the key provider's answer is not in its layout",
    next: "nothing to do in the app: the KMS or key provider is wrong, or another program answers at its address (kms_urls)",
  },
  "binding-mismatch": {
    meaning: "the host started the VM with another configuration than the app was measured for",
    next: "nothing to do in the app: the host changed files after launch; `dstack deploy` it again",
  },
  "disk-invalid": {
    meaning: "the data disk is damaged, or holds what is not ours",
    next: "restore the disk from a backup, or give the VM a blank one (`dstack rm`, `dstack deploy`)",
  },
  "disk-key-wrong": {
    meaning: "the data disk was made with another key",
    next: "start the VM with the app id and the KMS that the disk was made with, or a blank disk (`dstack rm`, `dstack deploy`)",
  },
  "env-invalid": {
    meaning: "the encrypted environment cannot be used",
    next: "`dstack env set` seals the environment anew for this app's key",
  },
  "docker-failed": {
    meaning: "Docker did not answer, or answered with an error",
    next: "`dstack logs` shows Docker's own words; then `dstack stop` and `dstack start`",
  },
  "app-failed": {
    meaning: "the app's containers or scripts did not start",
    next: "`dstack logs` shows what the container or script said; mend the compose file, then `dstack deploy`",
  },
  "gateway-failed": {
    meaning: "the gateway could not be registered with",
    next: "`dstack verify gateway` asks it; compare gateway_urls in vmm.toml with its address, gatewayAppId in the policy with its app id",
  },
} as const satisfies ErrorTable;

export type GuestErrorCode = keyof typeof GUEST_ERRORS;

/** Why the guest does not go on, or refuses a request. Match on `code`, never on the text. */
export class GuestError extends CodedError<GuestErrorCode> {}
