import { parseJson, utf8Decode } from "@dstack/bytes";
import { readFile } from "node:fs/promises";
import { asRefusal, excerpt } from "@dstack/errors";
import { exchange } from "@dstack/http";
import { CliError } from "../terminal/errors.ts";

export interface KmsHttpOptions {
  readonly url: string;
  readonly path: string;
  readonly body: Uint8Array;
  readonly tokenFile: string | undefined;
  /** Where the token may stand instead of in a file. */
  readonly tokenVariable: string;
  readonly env: NodeJS.ProcessEnv;
}

const TIMEOUT_MS = 120_000;
const MAX_ANSWER_BYTES = 2 * 1024 * 1024;

/**
 * One POST to a KMS's administration or set-up listener. Tokens come from a file or the environment, never
 * from the command line.
 * @throws CliError with the KMS's own words where it refuses
 */
export async function postToKms({
  url,
  path,
  body,
  tokenFile,
  tokenVariable,
  env,
}: KmsHttpOptions): Promise<Uint8Array> {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new CliError("usage", `--url: expected an http or https URL, got "${url}"`);
  const token = tokenFile === undefined ? env[tokenVariable] : await readFile(tokenFile, "utf8");
  const target = new URL(path, url.endsWith("/") ? url : `${url}/`);
  const answer = await asRefusal(
    () =>
      exchange({
        url: target,
        body,
        headers: {
          "content-type": "application/json",
          ...(token === undefined || token.trim() === "" ? {} : { authorization: `Bearer ${token.trim()}` }),
        },
        timeoutMs: TIMEOUT_MS,
        maxAnswerBytes: MAX_ANSWER_BYTES,
      }),
    (cause) => new CliError("failed", `no answer from the KMS at ${target.origin}`, { cause }),
  );
  if (answer.status === 200) return answer.body;
  if (answer.status === 401)
    throw new CliError("denied", `the KMS at ${target.origin} wants a token`, {
      hint: `give it with --token-file or ${tokenVariable}`,
    });
  const { error = `HTTP status ${answer.status}`, next } = refusal(answer.body);
  throw new CliError(
    "denied",
    `the KMS at ${target.origin} refused: ${error}`,
    next === undefined ? {} : { hint: next },
  );
}

/** What the KMS said, and what it says to do next. */
function refusal(answer: Uint8Array): { readonly error?: string; readonly next?: string } {
  try {
    const { error, next } = parseJson(utf8Decode(answer)) as { readonly error?: unknown; readonly next?: unknown };
    return {
      ...(typeof error === "string" ? { error } : {}),
      ...(typeof next === "string" ? { next: excerpt(next) } : {}),
    };
  } catch {
    // Not from a KMS of ours: the status says it.
    return {};
  }
}
