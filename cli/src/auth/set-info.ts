import { parseJson, utf8Decode } from "@dstack/bytes";
import { readFile } from "node:fs/promises";
import { calls } from "@dstack/governance/chain";
import type { Hex } from "viem";
import type { Cli } from "../clients/cli.ts";
import { CliError } from "../terminal/errors.ts";
import { visible } from "../terminal/output.ts";
import type { AuthSetInfoOptions } from "./options.ts";
import { selectContract } from "./select-backend.ts";

/** `dstack auth set-info`: keys and evidence of a KMS, from its bootstrap-info.json or the reference's file. */
export async function authSetInfo(cli: Cli, file: string, options: AuthSetInfoOptions): Promise<void> {
  const backend = await selectContract(cli, options);
  let json: Record<string, unknown>;
  try {
    json = parseJson(utf8Decode(await readFile(file), file), file) as Record<string, unknown>;
  } catch (cause) {
    throw new CliError("failed", `${file} is not JSON that can be read`, { cause });
  }
  const hex = (...names: string[]): Hex => {
    const value = names.map((name) => json[name]).find((candidate) => typeof candidate === "string");
    const digits = typeof value === "string" ? value.replace(/^0x/i, "").toLowerCase() : "";
    if (!/^(?:[0-9a-f]{2})*$/.test(digits)) throw new CliError("failed", `${file}: ${names[0]} is not hex`);
    return `0x${digits}`;
  };
  const info = {
    k256Pubkey: hex("k256Pubkey", "k256_pubkey"),
    caPubkey: hex("caPubkey", "ca_pubkey"),
    quote: hex("quote"),
    eventlog: hex("eventlog"),
  };
  if (info.k256Pubkey === "0x" || info.caPubkey === "0x")
    throw new CliError("failed", `${file} names no keys: expected k256_pubkey and ca_pubkey`);
  const sent = await backend.send([calls.setKmsInfo(backend.contract, info)]);
  cli.out.print(sent.map(visible).join("\n"));
}
