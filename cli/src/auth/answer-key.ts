import { publicKeyHex, signingKey } from "@dstack/governance/answers";
import type { Cli } from "../clients/cli.ts";
import type { AuthAnswerKeyOptions } from "./options.ts";

/** `dstack auth answer-key`: the public half of a webhook's key, made with mode 0600 where there is none. */
export async function authAnswerKey({ out }: Cli, file: string, options: AuthAnswerKeyOptions): Promise<void> {
  const key = publicKeyHex(await signingKey(file));
  if (options.output === "json") out.json({ answer_key: key, secret_key_file: file });
  else out.print(key);
}
