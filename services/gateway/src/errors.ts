import { CodedError, type ErrorTable } from "@dstack/errors";

export const GATEWAY_ERRORS = {
  "config-invalid": {
    meaning: "a setting of the gateway cannot be used",
    next: "change the key that the text names in gateway.toml and start the gateway again",
  },
  "state-unreadable": {
    meaning: "the file of registrations is not one of this gateway",
    next: "restore the file from a backup, or `mv` it away: VMs then register anew and get new addresses",
  },
  "state-unwritable": {
    meaning: "a registration could not be brought to the disk, so it was not made",
    next: "`df -h` and `ls -ld` on the folder of the file in the text; nothing was changed",
  },
  "certificate-unusable": {
    meaning: "the gateway's certificate, key or CA cannot be used",
    next: "`dstack-kms issue-development-certificate` for development; else have it issued anew, then `kill -HUP` the gateway",
  },
  "identity-missing": {
    meaning: "the caller's certificate says neither app nor instance",
    next: "nothing to do here: the caller shows no app certificate; a VM gets one from its KMS at boot",
  },
  "identity-invalid": {
    meaning: "the caller's certificate contradicts itself, or is of an app that may not call",
    next: "compare tls.mutual.ca_certs with the root CA of the KMS that the caller booted from (`dstack verify kms`)",
  },
  "registration-refused": {
    meaning: "the registration asks for what this instance may not have",
    next: "restart the VM (`dstack stop`, `dstack start`); what another VM holds is free once that is removed (`dstack rm`)",
  },
  "pool-exhausted": {
    meaning: "no tunnel address is free",
    next: "widen core.wg.client_ip_range in gateway.toml, or remove VMs that are no more: `dstack rm`",
  },
  "port-policy-invalid": {
    meaning: "the port policy breaks its rules",
    next: "change port_policy in the app's compose file to ports from 1 to 65535 and `dstack deploy` it again",
  },
} as const satisfies ErrorTable;

export type GatewayErrorCode = keyof typeof GATEWAY_ERRORS;

/** Every refusal of the gateway that ends a start or a call. Match on `code`, never on the text. */
export class GatewayError extends CodedError<GatewayErrorCode> {}
