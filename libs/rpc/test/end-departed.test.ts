import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { endDeparted } from "../src/end-departed.ts";

/** A connection whose client ended its half; what is written to it is taken when the test says so. */
class HalfClosed extends Duplex {
  bytesWritten = 0;
  readonly #open: (() => void)[] = [];

  constructor() {
    super({ allowHalfOpen: true });
    this.resume();
    this.push(null);
  }

  override _read(): void {
    // It has ended.
  }

  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    this.#open.push(done);
  }

  send(text: string): void {
    this.bytesWritten += text.length;
    this.write(text);
  }

  readPart(): void {
    this.#open.shift()?.();
  }
}

function accepted(afterMs: number): HalfClosed {
  const server = new EventEmitter();
  endDeparted(server, afterMs);
  const socket = new HalfClosed();
  server.emit("secureConnection", socket);
  return socket;
}

test("a client that ended its half and takes nothing of its answer is given up", { timeout: 10_000 }, async () => {
  const socket = accepted(20);
  socket.send("an answer");
  await once(socket, "close");
});

test("a client that ended its half and reads, or waits for its answer still, is left alone", async () => {
  const socket = accepted(50);
  await sleep(120);
  assert.equal(socket.destroyed, false, "it waits for an answer");
  for (let i = 0; i < 10; i++) socket.send("a part");
  for (let i = 0; i < 10; i++) {
    socket.readPart();
    await sleep(5);
  }
  await sleep(120);
  assert.equal(socket.destroyed, false, "it has read everything");
  socket.destroy();
});
