import { parseJson } from "@dstack/bytes";
import { excerpt } from "@dstack/errors";

const MASK = "(hidden)";
/** A shorter part of an address is a version or the name of a chain. */
const SECRET_CHARS = 6;
const LONG_CHARS = 20;
const MAX_CHARS = 200;

/**
 * What may be a key in an endpoint's address, in the spellings that a server may repeat: the parts of its path, what
 * its query says, user and password. All in lower case.
 */
export function secretsOf({ pathname, search, hash, username, password }: URL): readonly string[] {
  const spelled = [username, password, hash, ...`${pathname}${search}`.split(/[/?&=;,]/)];
  const plain = spelled.map(decoded);
  const basic = username === "" && password === "" ? [] : [base64(`${decoded(username)}:${decoded(password)}`)];
  return [...new Set([...spelled, ...plain, ...plain.map(base64), ...basic])]
    .filter((part) => part.length >= SECRET_CHARS)
    .map((part) => part.toLowerCase());
}

/**
 * A server's text as it may enter an error or a log: without addresses, without any word that has a piece of a secret
 * in it, without what looks like a key; bounded.
 */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  const pieces = new Set(secrets.flatMap(piecesOf));
  const masked = text
    .slice(0, 4 * MAX_CHARS)
    .replace(/\b[a-z][a-z0-9+.-]*:\/\/[^\s"'<>]+/gi, "(endpoint)")
    .replace(/\S+/g, (run) =>
      piecesOf(run.toLowerCase()).some((piece) => pieces.has(piece)) ? MASK : run.replace(WORDS, hiddenIfKey),
    );
  return excerpt(masked, { maxChars: MAX_CHARS });
}

/**
 * A JSON-RPC answer as the client library may see it, since its errors quote what they see: a result as it is, an error
 * without secrets, nothing of what is neither.
 * @throws BytesError `json-invalid`, `json-repeated`, `json-ill-formed`
 */
export function rpcAnswer(text: string, secrets: readonly string[]): object {
  const answer = parseJson(text, "answer");
  if (typeof answer !== "object" || answer === null) return {};
  const { id, result, error } = answer as Readonly<Record<string, unknown>>;
  const head = { jsonrpc: "2.0", id: typeof id === "number" ? id : null };
  if (typeof error !== "object" || error === null) return result === undefined ? head : { ...head, result };
  const { code, message, data } = error as Readonly<Record<string, unknown>>;
  return {
    ...head,
    error: {
      code: typeof code === "number" ? code : 0,
      message: typeof message === "string" ? withoutSecrets(message, secrets) : "no reason was given",
      // What a contract reverts with; words of the server have no other form here.
      ...(typeof data === "string" && /^0x[0-9a-f]*$/i.test(data) ? { data } : {}),
    },
  };
}

const WORDS = /[^\s"'<>()[\]{},;:=&?/\\|]+/g;

/** Hashes and addresses are hex with 0x; keys of providers are not. */
const hiddenIfKey = (word: string): string =>
  word.length >= LONG_CHARS && /\d/.test(word) && /[a-z]/i.test(word) && !/^0x[0-9a-f]+\.?$/i.test(word) ? MASK : word;

/** Every run of so many characters: a key that is told in part, or with more around it, has one in common. */
const piecesOf = (text: string): string[] =>
  Array.from({ length: Math.max(0, text.length - SECRET_CHARS + 1) }, (_, at) => text.slice(at, at + SECRET_CHARS));

const base64 = (text: string): string => Buffer.from(text).toString("base64").replace(/=+$/, "");

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
