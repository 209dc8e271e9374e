import { appId, BytesError, hash32, instanceId, utf8Decode } from "@dstack/bytes";
import type { AppId, Hash32, InstanceId } from "@dstack/bytes";
import { BOOT_EVENT, REPEATABLE_BOOT_EVENTS } from "./boot-event-names.ts";
import { AttestError } from "./errors.ts";
import { isEventName, type RuntimeEvent } from "./runtime-event.ts";

/** What the boot events say about the app. Optional ones are absent where boot had not come so far. */
export interface BootClaims {
  readonly appId: AppId;
  readonly composeHash: Hash32;
  /** No bytes where the app asked for no instance id. */
  readonly instanceId: InstanceId;
  /** JSON text {"name","id"} as bytes; none before the keys are there. */
  readonly keyProviderInfo: Uint8Array;
  readonly initScriptHashes: readonly Hash32[];
  readonly gpuPolicyHash?: Hash32;
  readonly osImageHash?: Hash32;
  readonly storageFs?: string;
  /** Names before `system-ready` that this reader does not know: of a newer guest, or of nobody who should be there. */
  readonly unknownEvents: readonly string[];
}

/** What the boot of this version writes before `system-ready`. */
const KNOWN: ReadonlySet<string> = new Set(Object.values(BOOT_EVENT).filter((name) => name !== BOOT_EVENT.systemReady));

const MAX_INIT_SCRIPTS = 5;

/** The events before `system-ready`; all, where boot had not come so far. */
export function bootPrefix(events: readonly RuntimeEvent[]): readonly RuntimeEvent[] {
  const end = events.findIndex((event) => event.event === BOOT_EVENT.systemReady);
  return end < 0 ? events : events.slice(0, end);
}

/**
 * The claims of a log. Only events before `system-ready` count: later ones are the application's,
 * under any name it likes.
 * @throws AttestError `event-missing`, `event-duplicate`, `event-invalid` for a name that
 *   no boot writes or a payload of the wrong length
 */
export function readBootClaims(events: readonly RuntimeEvent[]): BootClaims {
  const boot = bootPrefix(events);
  const first = new Map<string, Uint8Array>();
  for (const { event, payload } of boot) {
    // Whoever shows the log could else move the end of a name and hide what was measured.
    if (!isEventName(event)) {
      throw new AttestError(
        "event-invalid",
        `event log: ${JSON.stringify(event.slice(0, 160))} before system-ready is no event name: expected 1 to 128 characters without ':' and control characters`,
      );
    }
    if (first.has(event) && !REPEATABLE_BOOT_EVENTS.has(event)) {
      throw new AttestError("event-duplicate", `event log: "${event}" comes twice before system-ready`);
    }
    if (!first.has(event)) first.set(event, payload);
  }
  const required = (name: string): Uint8Array => {
    const payload = first.get(name);
    if (payload === undefined)
      throw new AttestError("event-missing", `event log: no "${name}" event before system-ready`);
    return payload;
  };
  const optional = (name: string): Hash32 | undefined => {
    const payload = first.get(name);
    return payload === undefined ? undefined : checked(name, () => hash32(payload, name));
  };
  const scripts = boot.filter(({ event }) => event === BOOT_EVENT.initScriptHash);
  if (scripts.length > MAX_INIT_SCRIPTS)
    throw new AttestError(
      "event-invalid",
      `event log: ${scripts.length} "${BOOT_EVENT.initScriptHash}" events, limit ${MAX_INIT_SCRIPTS}`,
    );
  const gpuPolicyHash = optional(BOOT_EVENT.gpuPolicyHash);
  const osImageHash = optional(BOOT_EVENT.osImageHash);
  const storageFs = first.get(BOOT_EVENT.storageFs);
  return {
    appId: checked(BOOT_EVENT.appId, () => appId(required(BOOT_EVENT.appId))),
    composeHash: checked(BOOT_EVENT.composeHash, () => hash32(required(BOOT_EVENT.composeHash), "compose hash")),
    instanceId: checked(BOOT_EVENT.instanceId, () => instanceId(required(BOOT_EVENT.instanceId))),
    keyProviderInfo: first.get(BOOT_EVENT.keyProvider) ?? new Uint8Array(0),
    initScriptHashes: scripts.map(({ payload }) =>
      checked(BOOT_EVENT.initScriptHash, () => hash32(payload, "init script hash")),
    ),
    unknownEvents: [...first.keys()].filter((name) => !KNOWN.has(name)),
    ...(gpuPolicyHash === undefined ? {} : { gpuPolicyHash }),
    ...(osImageHash === undefined ? {} : { osImageHash }),
    ...(storageFs === undefined
      ? {}
      : { storageFs: checked(BOOT_EVENT.storageFs, () => utf8Decode(storageFs, BOOT_EVENT.storageFs)) }),
  };
}

function checked<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof BytesError)) throw cause;
    throw new AttestError("event-invalid", `event log: "${name}": ${cause.message}`, { cause });
  }
}
