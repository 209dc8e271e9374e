import { createPublicKey } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic, writeSecret } from "@dstack/files";
import { generateP256, pkcs8Pem } from "@dstack/keys";
import { run } from "@dstack/process";
import { keptSecret } from "../local/development-keys.ts";
import { HOST_AS_SEEN_BY_GUEST, type StackLayout } from "../local/layout.ts";
import { SERVICE_PROGRAMS } from "../local/places.ts";

/** The gateway's RPC certificate, signed by the KMS's development root with the gateway's own app id. */
export async function issueGatewayCertificate(layout: StackLayout): Promise<void> {
  const folder = layout.gatewayCerts;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const key = generateP256();
  const appId = await keptSecret(layout.gatewayAppId, 20);
  const publicKeyFile = join(folder, "rpc.pub");
  await writeFileAtomic(
    publicKeyFile,
    createPublicKey(pkcs8Pem(key)).export({ type: "spki", format: "pem" }).toString(),
  );
  await run(
    process.execPath,
    [
      "--",
      SERVICE_PROGRAMS.kms,
      "issue-development-certificate",
      "-c",
      layout.kmsConfig,
      "--app-id",
      appId,
      "--domain",
      `${HOST_AS_SEEN_BY_GUEST},127.0.0.1,localhost`,
      "--public-key-file",
      publicKeyFile,
      "--out",
      join(folder, "rpc.crt"),
    ],
    { timeoutMs: 30_000 },
  );
  await writeSecret(join(folder, "rpc.key"), pkcs8Pem(key));
}
