/** Requests as bytes, which can be cut wherever a connection can break off. */
import { connect, type Socket } from "node:net";
import { connect as connectTls, type SecureContext } from "node:tls";

/** Where a listener is reached. Over TCP each connection comes from another address of this host. */
export type Place =
  | { readonly port: number; readonly tls?: SecureContext; readonly host?: string; readonly servername?: string }
  | { readonly path: string };

/** One request: its head up to the empty line, and its body. */
export interface Message {
  readonly head: Buffer;
  readonly body: Buffer;
}

export interface Answer {
  /** 0 where none came. */
  readonly status: number;
  readonly text: string;
}

export const STAGES = [
  "in the head",
  "after the head",
  "in the body",
  "after the body",
  "in the answer",
  "half-closed",
  "pipelined",
  "dripped",
] as const;
export type Stage = (typeof STAGES)[number];

/** How long anybody waits for an answer that may never come. */
const PATIENCE_MS = 300;
const ANSWER_LIMIT_MS = 15_000;
/** 0x16 0x03 0x01: a TLS record that never goes on. */
const HALF_HELLO = Buffer.from("16030102000100", "hex");
/** Addresses that clients come from: as many as make no one's limit the thing that is tested. */
const ADDRESSES = 200;
let connections = 0;

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** @param length of the body, where less is told than sent or more */
export function message(
  verb: string,
  path: string,
  body = "",
  headers: Readonly<Record<string, string>> = {},
  length = Buffer.byteLength(body),
): Message {
  const lines = Object.entries({
    host: "127.0.0.1",
    ...(verb === "GET" && length === 0 ? {} : { "content-length": String(length) }),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return { head: Buffer.from(`${verb} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`), body: Buffer.from(body) };
}

/** A connection that is open, with TLS where the place has it; undefined where it was refused. Its errors have a handler. */
export async function open(place: Place): Promise<{ readonly raw: Socket; readonly socket: Socket } | undefined> {
  const raw = dial(place);
  const socket =
    "port" in place && place.tls !== undefined
      ? connectTls({
          socket: raw,
          secureContext: place.tls,
          rejectUnauthorized: false,
          ...(place.servername === undefined ? {} : { servername: place.servername }),
        })
      : raw;
  const ready = socket === raw ? "connect" : "secureConnect";
  const isOpen = await new Promise<boolean>((resolve) => {
    for (const each of new Set([raw, socket])) each.on("error", () => resolve(false)).on("close", () => resolve(false));
    socket.once(ready, () => resolve(true));
  });
  return isOpen ? { raw, socket } : undefined;
}

function dial(place: Place): Socket {
  if ("path" in place) return connect(place.path);
  const { port, host = "127.0.0.1" } = place;
  const from = connections++ % ADDRESSES;
  // noDelay: what is written apart is to arrive apart.
  return connect({
    host,
    port,
    noDelay: true,
    ...(host === "127.0.0.1" ? { localAddress: `127.0.7.${from + 1}` } : {}),
  });
}

/** Sends a request up to a stage and breaks off there: by turns with FIN and RST. Never rejects. */
export async function cut(place: Place, { head, body }: Message, stage: Stage, turn: number): Promise<void> {
  if ("port" in place && place.tls !== undefined && stage === "in the head" && turn % 2 === 0) return cutHello(place);
  const opened = await open(place);
  if (opened === undefined) return;
  const { raw, socket } = opened;
  const breakOff = (): void => {
    // A Unix socket knows no reset, and one that ended its half is left open by a reset that fails.
    const mayReset = "port" in place && !raw.writableEnded && !socket.writableEnded;
    if (turn % 2 === 0 && mayReset) raw.resetAndDestroy();
    else socket.destroy();
  };
  switch (stage) {
    case "in the head":
      await write(socket, head.subarray(0, part(head.length, turn)));
      return breakOff();
    case "after the head":
      await write(socket, head);
      return breakOff();
    case "in the body":
      await write(socket, Buffer.concat([head, body.subarray(0, part(body.length, turn))]));
      return breakOff();
    case "after the body":
      await write(socket, Buffer.concat([head, body]));
      await sleep(turn % 7);
      return breakOff();
    case "in the answer":
      await write(socket, Buffer.concat([head, body]));
      await someData(socket);
      socket.pause();
      return breakOff();
    case "half-closed":
      socket.end(Buffer.concat([head, body]));
      await someData(socket);
      return breakOff();
    case "pipelined":
      await write(socket, Buffer.concat([head, body, head, body, head.subarray(0, 20)]));
      await someData(socket);
      return breakOff();
    case "dripped": {
      const bytes = Buffer.concat([head, body]);
      const step = Math.ceil(bytes.length / 6);
      for (let at = 0; at < bytes.length; at += step) {
        await write(socket, bytes.subarray(at, at + step));
        await sleep(2);
      }
      await someData(socket);
      return breakOff();
    }
    default:
      return stage satisfies never;
  }
}

async function cutHello(place: Place): Promise<void> {
  const raw = dial(place);
  raw.on("error", () => undefined);
  await write(raw, HALF_HELLO);
  raw.resetAndDestroy();
}

const part = (length: number, turn: number): number => Math.max(1, Math.floor((length * ((turn % 9) + 1)) / 10));

function write(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    socket.once("close", () => resolve());
    socket.write(bytes, () => resolve());
  });
}

function someData(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, PATIENCE_MS);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    socket.once("data", done).once("close", done);
  });
}

/** A request that is sent whole, by somebody who waits for its answer. Never rejects. */
export async function ask(place: Place, { head, body }: Message, limitMs = ANSWER_LIMIT_MS): Promise<Answer> {
  const opened = await open(place);
  if (opened === undefined) return { status: 0, text: "connection refused" };
  const { socket } = opened;
  const chunks: Buffer[] = [];
  const closing = Buffer.from(head.toString("latin1").replace("\r\n", "\r\nconnection: close\r\n"), "latin1");
  const outcome = await new Promise<string>((resolve) => {
    const timer = setTimeout(() => resolve(`no answer within ${limitMs} ms`), limitMs);
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.once("close", () => {
      clearTimeout(timer);
      resolve("the connection ended without an answer");
    });
    socket.write(Buffer.concat([closing, body]));
  });
  socket.destroy();
  const text = Buffer.concat(chunks).toString();
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);
  return { status, text: status === 0 ? outcome : text };
}
