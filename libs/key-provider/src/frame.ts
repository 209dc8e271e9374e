import type { Duplex } from "node:stream";
import { concatBytes, u32be } from "@dstack/bytes";
import { KeyProviderError } from "./errors.ts";

/** What either side announces and reads at most. */
const MAX_FRAME_BYTES = 8 * 1024 * 1024;

/** Writes one message: 4 bytes of big-endian length, then the message. */
export function writeFrame(stream: Duplex, message: Uint8Array): void {
  stream.write(concatBytes(u32be(message.length), message));
}

/**
 * Reads the one message that a connection carries each way. A length of 0, above 8 MiB, or more bytes than
 * announced end it before anything is kept of what follows; the stream is the caller's to end.
 * @throws KeyProviderError `message-invalid`, or `provider-silent` where the other side ends too early
 */
export function readFrame(stream: Duplex): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let received = 0;
    let announced: number | undefined;
    const settle = (finish: () => void): void => {
      stream.off("data", onData).off("error", onError).off("end", onEnd).off("close", onEnd);
      stream.pause();
      // Whoever reads a message may end the stream; an error of it afterwards has been told already.
      stream.on("error", () => undefined);
      finish();
    };
    const refuse = (text: string): void => settle(() => reject(new KeyProviderError("message-invalid", text)));
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      received += chunk.length;
      if (announced === undefined && received >= 4) {
        const head = Buffer.concat(chunks);
        announced = head.readUInt32BE(0);
        if (announced < 1 || announced > MAX_FRAME_BYTES)
          return refuse(`key provider's message: a length of ${announced} bytes, expected 1 to ${MAX_FRAME_BYTES}`);
      }
      if (announced === undefined || received < announced + 4) return;
      if (received > announced + 4) return refuse("key provider's message: more bytes than its length says");
      settle(() => resolve(new Uint8Array(Buffer.concat(chunks).subarray(4))));
    };
    const onError = (cause: Error): void =>
      settle(() => reject(new KeyProviderError("provider-silent", "the connection broke", { cause })));
    const onEnd = (): void =>
      settle(() =>
        reject(
          new KeyProviderError(
            "provider-silent",
            received === 0
              ? "the connection was closed without a word"
              : `the connection was closed after ${received} bytes of a message`,
          ),
        ),
      );
    stream.on("data", onData).on("error", onError).on("end", onEnd).on("close", onEnd);
  });
}
