import { CodedError, type ErrorTable } from "@dstack/errors";

export const KMS_ERRORS = {
  "config-invalid": {
    meaning: "a setting of the KMS cannot be used",
    next: "change the key that the text names in kms.toml, then `dstack-kms check -c kms.toml`",
  },
  "not-bootstrapped": {
    meaning: "the KMS has no keys yet",
    next: "open this KMS's set-up page (core.onboard.enabled in kms.toml); where keys were lost, restore the key folder from a backup",
  },
  "already-bootstrapped": {
    meaning: "the KMS has keys already, or is being given some",
    next: "nothing to do where the keys are the right ones; else set core.key_folder in kms.toml to another folder",
  },
  "key-folder-partial": {
    meaning: "the key folder holds a part of its files only",
    next: "stop the KMS, put the files that the text names back from a backup of the folder, start it again",
  },
  "key-folder-invalid": {
    meaning: "a file of the key folder cannot be used",
    next: "stop the KMS, put the file that the text names back from a backup of the folder, start it again",
  },
  "agent-unavailable": {
    meaning: "the guest agent of the KMS did not answer",
    next: "`ls -l /var/run/dstack.sock` in the KMS's container; mount it, or set DSTACK_AGENT_ADDRESS",
  },
  "self-evidence-invalid": {
    meaning: "the evidence of this KMS does not verify",
    next: "`dstack verify kms` shows which check fails, `dstack collateral show` whether a document ran out",
  },
  "self-unauthorized": {
    meaning: "the auth server does not allow this KMS",
    next: "`dstack auth allow kms` or `dstack auth allow os-image`, with the values that the text and the log name",
  },
  "source-refused": {
    meaning: "the KMS to take the keys from is not accepted",
    next: "`dstack verify kms` shows the source as this KMS sees it; allow it with `dstack auth allow kms`, or take another source",
  },
  "auth-unreachable": {
    meaning: "the auth server could not be asked; this is no denial",
    next: "`curl` core.auth_api.webhook.url of kms.toml from the KMS's host; start the auth server",
  },
  "auth-answer-invalid": {
    meaning: "the auth server's answer is not in its layout",
    next: "nothing to do here: the auth server is wrong; `dstack auth conformance` shows where",
  },
  "auth-answer-unproven": {
    meaning: "the auth server's answer is not signed by a pinned key for this very question; this is no denial",
    next: "compare core.auth_api.webhook.answer_keys in kms.toml with the auth server's key (`dstack auth answer-key`)",
  },
  "image-unavailable": {
    meaning: "the OS image could not be downloaded, so it could not be measured",
    next: "`curl` core.image.download_url of kms.toml with the hash of the text; put the image there",
  },
  "image-mismatch": {
    meaning: "the OS image is not the one that its hash names",
    next: "`dstack image list` shows the hashes on the host; deploy with the image that the hash names",
  },
  "measurement-mismatch": {
    meaning: "the registers of the quote are not those of the OS image on this machine",
    next: "`dstack mr diagnose` says which of firmware, kernel and configuration gives another register",
  },
  "backup-refused": {
    meaning: "a backup of the keys is not given",
    next: "change what the text names in kms.toml (core.backup.*), then `dstack kms backup`",
  },
  "restore-refused": {
    meaning: "the shares or the backup do not give the keys",
    next: "`dstack kms restore` with the backup and its operators' shares; core.backup.* in kms.toml as in the KMS that made it",
  },
  overloaded: {
    meaning: "too many requests wait for the auth server",
    next: "nothing to do: the caller asks again; where it lasts, make the auth server faster",
  },
  "not-development": {
    meaning: "only a key folder marked development does this",
    next: "use a folder marked development (core.key_folder in kms.toml); a production folder never does this",
  },
  stopped: {
    meaning: "the KMS was told to stop during the set-up",
    next: "nothing to do: start the KMS again, the set-up goes on",
  },
  usage: {
    meaning: "the command line cannot be used",
    next: "`dstack-kms --help` shows the commands and options",
  },
} as const satisfies ErrorTable;

export type KmsErrorCode = keyof typeof KMS_ERRORS;

/** Every refusal of this service that is not an RPC answer by itself. Match on `code`, never on the text. */
export class KmsError extends CodedError<KmsErrorCode> {}

/** Each rule that refuses keys, certificates or a backup, as answer, log and audit line name it. */
export const KMS_RULES = {
  evidence: {
    meaning: "the caller shows no evidence, or evidence that does not hold",
    next: "`dstack verify` on the caller shows which check fails; a VM without evidence is to be booted as a TDX guest",
  },
  "self-authorization": {
    meaning: "this KMS itself is not allowed to serve, or could not find out",
    next: "`dstack auth allow kms` or `dstack auth allow os-image` with this KMS's own values; `dstack-kms check` names its settings",
  },
  "insecure-settings": {
    meaning: "a setting that weakens this KMS is in force, so no root key leaves it",
    next: "take the setting that the field names out of kms.toml and start the KMS again",
  },
  backup: {
    meaning: "nobody is configured to whom a backup could be sealed",
    next: "set core.backup.operators and core.backup.threshold in kms.toml (`dstack kms keygen` makes a key) and start the KMS again",
  },
  "own-name": {
    meaning: "the certificate asked for would cover a name of the KMS itself",
    next: "nothing to do on the KMS: the caller asks for a certificate without that name",
  },
  "vm-config": {
    meaning: "the VM configuration of the request is longer than any that is read",
    next: "nothing to do on the KMS: the caller sends the vm_config that its VMM made; `dstack deploy` it again",
  },
  "mr-config-id": {
    meaning: "the launch document of the request is not the one that the quote is bound to",
    next: "nothing to do on the KMS: the host changed the VM's files after launch; `dstack deploy` the app again",
  },
  gatewayAppId: {
    meaning: "the auth server names every gateway where a production key folder wants one",
    next: "`dstack auth set-info` with the gateway's own app id, or gatewayAppId in the policy file",
  },
  "os-image": {
    meaning: "the OS image that the evidence names does not give the registers of the quote",
    next: "`dstack mr diagnose` says which of firmware, kernel and configuration gives another register",
  },
  "auth api": {
    meaning: "the auth server denies the boot and names no rule",
    next: "`dstack auth explain` on the request of the audit log, with the policy of that auth server",
  },
} as const satisfies ErrorTable;

export type KmsRule = keyof typeof KMS_RULES;
