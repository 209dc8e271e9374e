import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Cli } from "../clients/cli.ts";
import type { KmsCheckOptions } from "./options.ts";
import { SERVICE_PROGRAMS } from "../local/places.ts";

/** `dstack kms check`: the KMS reads its own configuration and says what is insecure. @returns its exit code */
export async function kmsCheck({ env }: Cli, { config, output }: KmsCheckOptions): Promise<number> {
  const child = spawn(
    process.execPath,
    ["--", SERVICE_PROGRAMS.kms, "check", "-o", output, ...(config === undefined ? [] : ["-c", config])],
    { env, stdio: "inherit" },
  );
  const [code] = (await once(child, "exit")) as [number | null];
  return code ?? 1;
}
