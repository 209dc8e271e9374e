/**
 * The one writer of RTMR3. Each event is first noted as pending, then extended, then appended to the
 * log and the note removed; so a crash between any two steps leaves what `open` can put right:
 *
 * register = replay(log)            the note, if any, was not extended: dropped
 * register = replay(log + note)     extended but not logged: the note is appended
 * anything else                     somebody else extended RTMR3: refused
 */
import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { equalBytes, toHex } from "@dstack/bytes";
import type { Hash48 } from "@dstack/bytes";
import {
  eventDigest,
  extendRegister,
  formatRuntimeLogLine,
  newRuntimeEvent,
  parseRuntimeLog,
  replayRtmr3,
} from "@dstack/attest";
import type { RuntimeEvent } from "@dstack/attest";
import { readTextIfExists, removeIfExists, writeFileAtomic } from "@dstack/files";
import { TeeError } from "./errors.ts";

/** RTMR3 as the log needs it. */
export interface EventRegister {
  read(): Promise<Hash48>;
  extend(digest: Hash48): Promise<void>;
}

export class RuntimeEventLog {
  readonly #path: string;
  readonly #register: EventRegister;
  readonly #events: RuntimeEvent[];
  #value: Hash48;

  private constructor(path: string, register: EventRegister, events: RuntimeEvent[]) {
    this.#path = path;
    this.#register = register;
    this.#events = events;
    this.#value = replayRtmr3(events);
  }

  /**
   * Opens the log, or starts it where there is none and the register is still untouched.
   * @throws TeeError `log-unrecoverable` where log and register cannot be brought together
   */
  static async open(path: string, register: EventRegister): Promise<RuntimeEventLog> {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const pendingText = await readTextIfExists(pendingPath(path));
    // A torn last line is what a crash in the append leaves; the pending note tells what it was to be.
    const text = wholeLines((await readTextIfExists(path)) ?? "");
    const events = parseRuntimeLog(text);
    const pending = pendingText === undefined ? [] : parseRuntimeLog(wholeLines(pendingText));
    const value = await register.read();
    const recovered = [events, [...events, ...pending]].find((candidate) => equalBytes(replayRtmr3(candidate), value));
    if (recovered === undefined) {
      throw new TeeError(
        "log-unrecoverable",
        `RTMR3 is ${toHex(value)}, the event log replays to ${toHex(replayRtmr3(events))}: ` +
          "something else extended it; restart the guest",
      );
    }
    await writeFileAtomic(path, recovered.map(formatRuntimeLogLine).join(""), { mode: 0o600 });
    await removeIfExists(pendingPath(path));
    return new RuntimeEventLog(path, register, recovered);
  }

  /** Events in the order they were extended. */
  get events(): readonly RuntimeEvent[] {
    return this.#events;
  }

  /**
   * Extends RTMR3 by a new event and logs it. Calls must not overlap.
   * @throws TeeError `register-mismatch` where RTMR3 is not what the log says, before or after;
   *   AttestError `event-invalid` for a bad name
   */
  async emit(name: string, payload: Uint8Array, version: 1 | 2 = 1): Promise<void> {
    const event = newRuntimeEvent(name, payload, version);
    await this.#expect(this.#value, `before "${name}"`);
    const digest = eventDigest(event);
    const next = extendRegister(this.#value, digest);
    await writeFileAtomic(pendingPath(this.#path), formatRuntimeLogLine(event), { mode: 0o600 });
    await this.#register.extend(digest);
    await this.#expect(next, `after "${name}"`);
    await append(this.#path, formatRuntimeLogLine(event));
    this.#events.push(event);
    this.#value = next;
    await removeIfExists(pendingPath(this.#path));
  }

  /**
   * As `emit`, unless this boot has measured the very same event already (DS #1320).
   * @throws TeeError `event-conflict` where it has measured the name with another payload
   */
  async emitOnce(name: string, payload: Uint8Array, version: 1 | 2 = 1): Promise<void> {
    const found = this.#events.find((event) => event.event === name);
    if (found === undefined) return this.emit(name, payload, version);
    if (!equalBytes(found.payload, payload)) {
      throw new TeeError(
        "event-conflict",
        `event "${name}" was measured already with payload ${toHex(found.payload)}, now ${toHex(payload)}`,
      );
    }
  }

  async #expect(expected: Hash48, when: string): Promise<void> {
    const value = await this.#register.read();
    if (!equalBytes(value, expected)) {
      throw new TeeError(
        "register-mismatch",
        `RTMR3 ${when}: expected ${toHex(expected)}, got ${toHex(value)}: something else extends it`,
      );
    }
  }
}

const pendingPath = (path: string): string => `${path}.pending`;

const wholeLines = (text: string): string => text.slice(0, text.lastIndexOf("\n") + 1);

async function append(path: string, line: string): Promise<void> {
  const file = await open(path, "a", 0o600);
  try {
    await file.appendFile(line);
    await file.sync();
  } finally {
    await file.close();
  }
}
