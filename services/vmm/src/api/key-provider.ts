import { connect } from "node:net";
import { z } from "zod";
import { concatBytes, parseJson, u32be, utf8, utf8Decode } from "@dstack/bytes";
import { CONNECT_TIMEOUT_MS } from "@dstack/http";
import { VmmError } from "../errors.ts";

const MAX_QUOTE_BYTES = 1024 * 1024;
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
const TIMEOUT_MS = 30_000;

const bytes = z.array(z.number().int().min(0).max(255)).transform((list) => Uint8Array.from(list));
const answerSchema = z.object({ encrypted_key: bytes, provider_quote: bytes });

/**
 * Asks the local SGX key provider. Both ways: 4 bytes of big-endian length, then JSON with byte
 * strings as lists of numbers.
 * @throws VmmError `unsupported`, `request-invalid`, `guest-unreachable`
 */
export async function askKeyProvider(
  config: { enabled: boolean; address: string; port: number },
  quote: Uint8Array,
): Promise<{ encryptedKey: Uint8Array; providerQuote: Uint8Array }> {
  if (!config.enabled) throw new VmmError("unsupported", "Key provider is not enabled");
  if (quote.length > MAX_QUOTE_BYTES) throw new VmmError("request-invalid", "Quote is too long");
  const body = utf8(JSON.stringify({ quote: [...quote] }));
  try {
    const answer = answerSchema.parse(
      parseJson(utf8Decode(await exchange(config, concatBytes(u32be(body.length), body)), "key provider's answer")),
    );
    return { encryptedKey: answer.encrypted_key, providerQuote: answer.provider_quote };
  } catch (cause) {
    throw new VmmError("guest-unreachable", "Failed to get sealing key from key provider", { cause });
  }
}

function exchange({ address, port }: { address: string; port: number }, request: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port });
    const chunks: Buffer[] = [];
    let length = 0;
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
    const connecting = setTimeout(
      () => socket.destroy(new Error(`no connection within ${CONNECT_TIMEOUT_MS} ms`)),
      CONNECT_TIMEOUT_MS,
    );
    socket.once("connect", () => {
      clearTimeout(connecting);
      socket.write(request);
    });
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length < 4) return;
      const all = Buffer.concat(chunks, length);
      const announced = all.readUInt32BE(0);
      if (announced > MAX_ANSWER_BYTES) socket.destroy(new Error(`an answer of ${announced} bytes is too long`));
      else if (length > announced + 4) socket.destroy(new Error("bytes after the answer"));
      else if (length === announced + 4) {
        resolve(new Uint8Array(all.subarray(4)));
        socket.destroy();
      } else chunks.splice(0, chunks.length, all);
    });
    socket.once("error", reject);
    socket.once("close", () => {
      clearTimeout(timer);
      clearTimeout(connecting);
      reject(new Error("the connection was closed before the answer was whole"));
    });
  });
}
