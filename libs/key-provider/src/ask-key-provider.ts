import { connect, type Socket } from "node:net";
import { CONNECT_TIMEOUT_MS } from "@dstack/http";
import { KeyProviderError } from "./errors.ts";
import { readFrame, writeFrame } from "./frame.ts";
import { decodeAnswer, encodeQuestion, type KeyProviderAnswer } from "./messages.ts";

export interface KeyProviderAddress {
  readonly address: string;
  readonly port: number;
}

const ANSWER_MS = 30_000;

/**
 * Asks a local key provider for the key of a quote: one question and one answer on a connection of its own.
 * Nothing of the answer is verified here: that is for the guest, who alone can open it.
 * @throws KeyProviderError `quote-too-long`, `provider-unreachable`, `provider-silent`, `message-invalid`
 */
export async function askKeyProvider(
  { address, port }: KeyProviderAddress,
  quote: Uint8Array,
): Promise<KeyProviderAnswer> {
  const question = encodeQuestion(quote);
  const socket = await connected(address, port);
  const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${ANSWER_MS / 1000} s`)), ANSWER_MS);
  try {
    writeFrame(socket, question);
    return decodeAnswer(await readFrame(socket));
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

function connected(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const fail = (cause: Error): void => {
      clearTimeout(timer);
      reject(new KeyProviderError("provider-unreachable", `no key provider at ${host}:${port}`, { cause }));
    };
    const timer = setTimeout(
      () => socket.destroy(new Error(`no connection within ${CONNECT_TIMEOUT_MS / 1000} s`)),
      CONNECT_TIMEOUT_MS,
    );
    socket.once("error", fail).once("connect", () => {
      clearTimeout(timer);
      socket.off("error", fail);
      resolve(socket);
    });
  });
}
