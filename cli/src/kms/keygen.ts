import { writeFile } from "node:fs/promises";
import { toHex } from "@dstack/bytes";
import { generateOperatorKey } from "@dstack/key-backup";
import { CliError } from "../terminal/errors.ts";
import type { Cli } from "../clients/cli.ts";
import type { KmsKeygenOptions } from "./options.ts";

/** `dstack kms keygen`: a secret key into a new file of mode 0600, the public key to standard output. */
export async function kmsKeygen(cli: Cli, { out, output }: KmsKeygenOptions): Promise<void> {
  const { pem, publicKey } = generateOperatorKey();
  try {
    await writeFile(out, pem, { mode: 0o600, flag: "wx", flush: true });
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === "EEXIST";
    throw new CliError(
      "failed",
      exists ? `${out} is there already; a key is never replaced` : `${out} cannot be written`,
      { cause },
    );
  }
  if (output === "json") cli.out.json({ public_key: toHex(publicKey), secret_key_file: out });
  else {
    cli.out.print(toHex(publicKey));
    cli.out.say(`secret key in ${out}: keep it offline; with enough other operators it opens the root keys`);
  }
}
