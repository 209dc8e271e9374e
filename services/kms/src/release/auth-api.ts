import { asRefusal } from "@dstack/errors";
import {
  webhookClient,
  type BootKind,
  type SentBootInfo,
  type WebhookClientOptions,
  type WebhookDecision,
  type WebhookInfo,
} from "@dstack/governance";
import { KmsError } from "../errors.ts";

/** What the one who is denied is told: the reason, and what decided where the server says so. */
export const denialText = ({ reason, rule, field }: Extract<WebhookDecision, { readonly kind: "denied" }>): string =>
  rule === undefined ? reason : `${reason} (rule ${rule}, field ${field ?? "isAllowed"})`;

/** Who may have keys. Decisions are never kept: a withdrawn permission counts at the next request. */
export interface AuthApi {
  readonly isDev: boolean;
  /** @throws KmsError `auth-unreachable`, `auth-answer-unproven`, `auth-answer-invalid`: none is a denial */
  bootAuth(kind: BootKind, boot: SentBootInfo, signal?: AbortSignal): Promise<WebhookDecision>;
  /** @throws KmsError as `bootAuth` */
  info(): Promise<WebhookInfo>;
}

/** Allows everything; only for folders marked development. */
export function devAuthApi(gatewayAppId: string): AuthApi {
  return {
    isDev: true,
    bootAuth: () => Promise.resolve({ kind: "allowed", gatewayAppId }),
    info: () =>
      Promise.resolve({
        kmsContractAddr: "",
        gatewayAppId,
        chainId: 0n,
        appImplementation: "",
        ethRpcUrl: "",
        configError: "",
      }),
  };
}

export interface WebhookOptions extends Omit<WebhookClientOptions, "infoPace" | "keepConnections"> {
  readonly clock: { now(): number };
}

/** Anonymous calls ask for the information; they must not become calls to a chain one by one (DS #1311). */
const INFO_AGE_MS = 1_000;

const KMS_CODES = {
  "webhook-unreachable": "auth-unreachable",
  "webhook-answer-unproven": "auth-answer-unproven",
} as const;

/** Asks a webhook over connections that are kept. */
export function webhookAuthApi({ clock, ...options }: WebhookOptions): AuthApi {
  const client = webhookClient({ ...options, keepConnections: true, infoPace: { maxAgeMs: INFO_AGE_MS, clock } });
  const asKmsError = <T>(run: () => Promise<T>): Promise<T> =>
    asRefusal(
      run,
      ({ code, message, cause, facts }) =>
        new KmsError(KMS_CODES[code as keyof typeof KMS_CODES] ?? "auth-answer-invalid", message, { cause, facts }),
    );
  return {
    isDev: false,
    bootAuth: (kind, boot, signal) => asKmsError(() => client.bootAuth(kind, boot, signal)),
    info: () => asKmsError(() => client.info()),
  };
}
