import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { OutputFormat } from "../terminal/output.ts";
import { REPOSITORY_ROOT } from "../images/image.ts";

/** `dstack kms check`: the KMS reads its own configuration and says what is insecure. @returns its exit code */
export async function kmsCheckCommand(
  env: NodeJS.ProcessEnv,
  { config, output }: { readonly config?: string; readonly output: OutputFormat },
): Promise<number> {
  const child = spawn(
    process.execPath,
    [
      join(REPOSITORY_ROOT, "services/kms/src/main.ts"),
      "check",
      "-o",
      output,
      ...(config === undefined ? [] : ["-c", config]),
    ],
    { env, stdio: "inherit" },
  );
  const [code] = (await once(child, "exit")) as [number | null];
  return code ?? 1;
}
