import { closeSync, constants, openSync, readdirSync, readFileSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { ChannelError } from "./errors.ts";

export interface GuestPortOptions {
  /** How long to wait for the device; 10,000 ms unless given. The driver may load late. */
  readonly timeoutMs?: number;
  /** Where the kernel lists ports; for tests. */
  readonly sysRoot?: string;
  readonly devRoot?: string;
}

/** Name of the port that carries host API and guest API. */
export const HOST_PORT_NAME = "org.dstack.host.0";

const BUSY_POLL_MS = 2;
const IDLE_POLL_MS = 40;
const CHUNK_BYTES = 64 * 1024;

/**
 * The virtio-serial port of that name as a stream. It outlives the host's connections: while
 * nobody is connected on the host, reads wait and writes queue.
 * @throws ChannelError `port-missing` when the machine has no such port
 */
export async function openGuestPort(name: string, options: GuestPortOptions = {}): Promise<Duplex> {
  const deadline = Date.now() + (options.timeoutMs ?? 10_000);
  for (;;) {
    const path = findGuestPort(name, options);
    if (path !== undefined)
      return portStream(openSync(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY));
    if (Date.now() >= deadline)
      throw new ChannelError("port-missing", `no virtio-serial port is named ${name}; does the host give this VM one?`);
    await sleep(100);
  }
}

/** The device file of a port; without udev only sysfs knows which number has which name. */
export function findGuestPort(name: string, options: GuestPortOptions = {}): string | undefined {
  const sysRoot = options.sysRoot ?? "/sys/class/virtio-ports";
  let ports: string[];
  try {
    ports = readdirSync(sysRoot);
  } catch {
    return undefined; // The driver is not loaded (yet).
  }
  const port = ports.find((candidate) => readFileSync(join(sysRoot, candidate, "name"), "utf8").trim() === name);
  return port === undefined ? undefined : join(options.devRoot ?? "/dev", port);
}

/**
 * A port read and written without blocking. Node cannot wait on such a device, and a blocked
 * read would hold a thread of its pool for ever, so it is looked at in short intervals.
 */
function portStream(fd: number): Duplex {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let readTimer: NodeJS.Timeout | undefined;
  let writeTimer: NodeJS.Timeout | undefined;
  let pauseMs = BUSY_POLL_MS;

  const poll = (stream: Duplex): void => {
    readTimer = undefined;
    const length = tryRead(fd, buffer);
    if (length instanceof Error) {
      stream.destroy(length);
    } else if (length > 0) {
      pauseMs = BUSY_POLL_MS;
      stream.push(Buffer.from(buffer.subarray(0, length)));
    } else {
      pauseMs = Math.min(pauseMs * 2, IDLE_POLL_MS);
      readTimer = setTimeout(poll, pauseMs, stream);
    }
  };

  return new Duplex({
    read() {
      readTimer ??= setTimeout(poll, BUSY_POLL_MS, this);
    },
    write(chunk: Buffer, _encoding, done) {
      let offset = 0;
      const attempt = (): void => {
        writeTimer = undefined;
        const written = tryWrite(fd, chunk.subarray(offset));
        if (written instanceof Error) {
          done(written);
          return;
        }
        offset += written;
        if (offset === chunk.length) done();
        else writeTimer = setTimeout(attempt, written > 0 ? BUSY_POLL_MS : IDLE_POLL_MS);
      };
      attempt();
    },
    destroy(error, done) {
      clearTimeout(readTimer);
      clearTimeout(writeTimer);
      closeSync(fd);
      done(error);
    },
  });
}

/** Bytes read; 0 when there are none now: no data (EAGAIN), or nobody connected on the host (end of file). */
function tryRead(fd: number, buffer: Buffer): number | Error {
  try {
    return readSync(fd, buffer, 0, buffer.length, null);
  } catch (error) {
    return isRetry(error) ? 0 : (error as Error);
  }
}

function tryWrite(fd: number, chunk: Uint8Array): number | Error {
  try {
    return writeSync(fd, chunk, 0, chunk.length, null);
  } catch (error) {
    return isRetry(error) ? 0 : (error as Error);
  }
}

const isRetry = (error: unknown): boolean =>
  ["EAGAIN", "EINTR", "EPIPE"].includes((error as NodeJS.ErrnoException).code ?? "");
