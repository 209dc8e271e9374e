import { createHash } from "node:crypto";
import { concatBytes, parseHexOfLength, u32be, utf8 } from "@dstack/bytes";
import { KeysError, p256FromScalar } from "@dstack/keys";
import type { P256Key } from "@dstack/keys";
import { SimulatorError } from "./errors.ts";

/** 32 bytes that the whole development root of trust follows from. */
export type MockSeed = Uint8Array & { readonly __seed: never };

export type MockKeyLabel = "tdx-root" | "tdx-pck-ca" | "tdx-pck" | "tdx-tcb" | "tdx-qe";

/** A seed from 64 hex digits, white space around them allowed. @throws SimulatorError `seed-invalid` */
export function parseSeed(text: string): MockSeed {
  try {
    return parseHexOfLength(text.trim(), 32, "seed") as MockSeed;
  } catch (cause) {
    // The digits themselves stay out of the message: whoever has them owns the development root.
    throw new SimulatorError("seed-invalid", "simulator seed: expected 64 hex digits", { cause });
  }
}

/** SHA-256("dstack-mock-p256-v1", seed, label, u32be counter), the first counter that gives a valid P-256 scalar. */
export function mockKey(seed: MockSeed, label: MockKeyLabel): P256Key {
  for (let counter = 0; counter < 16; counter++) {
    const material = concatBytes(utf8("dstack-mock-p256-v1"), seed, utf8(label), u32be(counter));
    try {
      return p256FromScalar(new Uint8Array(createHash("sha256").update(material).digest()));
    } catch (error) {
      if (!(error instanceof KeysError)) throw error;
    }
  }
  throw new SimulatorError("seed-invalid", `no key for ${label} in 16 attempts`);
}
