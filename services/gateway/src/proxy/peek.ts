import type { Socket } from "node:net";
import { MAX_PEEK_BYTES, readServerName, type HelloName } from "./client-hello.ts";

export type Peeked =
  | { readonly kind: "name"; readonly name: string; readonly bytes: Buffer }
  | Exclude<HelloName, { kind: "incomplete" } | { kind: "name" }>
  | { readonly kind: "timeout" }
  | { readonly kind: "closed" };

const FIRST_BUFFER_BYTES = 4_096;

/** Reads until the server name is known, and leaves the socket paused with the bytes that were read. Never rejects. */
export function peekServerName(socket: Socket, timeoutMs: number): Promise<Peeked> {
  return new Promise((resolve) => {
    let buffer = Buffer.allocUnsafe(FIRST_BUFFER_BYTES);
    let length = 0;
    const finish = (result: Peeked): void => {
      clearTimeout(timer);
      socket.off("data", read).off("end", ended).off("close", ended);
      socket.pause();
      resolve(result);
    };
    const ended = (): void => finish(length === 0 ? { kind: "closed" } : { kind: "absent" });
    const read = (chunk: Buffer): void => {
      if (length + chunk.length > buffer.length)
        buffer = Buffer.concat([buffer.subarray(0, length)], Math.max(2 * buffer.length, length + chunk.length));
      length += chunk.copy(buffer, length);
      const bytes = buffer.subarray(0, length);
      const hello = readServerName(bytes);
      if (hello.kind === "name") finish({ ...hello, bytes });
      else if (hello.kind !== "incomplete") finish(hello);
      else if (length > MAX_PEEK_BYTES)
        finish({ kind: "invalid", reason: `no ClientHello within ${MAX_PEEK_BYTES} bytes` });
    };
    const timer = setTimeout(() => finish({ kind: "timeout" }), timeoutMs);
    socket.on("data", read).on("end", ended).on("close", ended);
  });
}
