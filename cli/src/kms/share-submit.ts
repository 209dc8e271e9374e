import { parseJson, utf8Decode } from "@dstack/bytes";
import type { Cli } from "../clients/cli.ts";
import { postToKms } from "../clients/kms-http.ts";
import { readBytes } from "./operator-files.ts";
import type { KmsShareSubmitOptions } from "./options.ts";

/** `dstack kms share submit`: with the last share that is needed the KMS goes on to serve. */
export async function kmsShareSubmit(cli: Cli, file: string, options: KmsShareSubmitOptions): Promise<void> {
  const post = (path: string, body: Uint8Array): Promise<Uint8Array> =>
    postToKms({
      url: options.url,
      path,
      body,
      tokenFile: options.tokenFile,
      tokenVariable: "DSTACK_KMS_SETUP_TOKEN",
      env: cli.env,
    });
  const { received, needed, restored } = parseJson(
    utf8Decode(await post("restore/share", await readBytes(file)), "answer"),
    "answer",
  ) as { readonly received: number; readonly needed: number; readonly restored: boolean };
  if (restored) await post("finish", new Uint8Array());
  if (options.output === "json") cli.out.json({ received, needed, restored });
  else
    cli.out.print(
      restored
        ? "restored: the root keys are installed and the KMS begins to serve"
        : `share ${received} of ${needed} received`,
    );
}
