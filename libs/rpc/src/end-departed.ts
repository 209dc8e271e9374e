import type { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";

/** A connection inside TLS, as far as it is looked at. */
export type Departing = Duplex & { readonly bytesWritten: number };

/** How long a client that ended its half may take nothing of its answer. */
const LEFT_MS = 10_000;

/**
 * Ends TLS connections of clients that have left. A reset is not always told of in TLS: after an end of the client's
 * half, Node waits for ever with what is still to be written. A client that ended its half and reads is left alone,
 * and so is one whose answer is not there yet.
 */
export function endDeparted(server: EventEmitter, afterMs = LEFT_MS): void {
  server.on("secureConnection", (socket: Departing) => {
    socket.once("end", () => {
      let before = -1;
      const timer = setInterval(() => {
        // What is still to be written counts as written.
        const taken = socket.bytesWritten - socket.writableLength;
        if (socket.writableLength > 0 && taken === before) socket.destroy();
        before = socket.writableLength > 0 ? taken : -1;
      }, afterMs);
      timer.unref();
      socket.once("close", () => clearInterval(timer));
    });
  });
}
