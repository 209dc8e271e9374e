import { createHash } from "node:crypto";
import { concatBytes, utf8 } from "@dstack/bytes";

const HEADER_BYTES = 16_384;
const SALT = Buffer.from(new Uint8Array(32).fill(0x5a)).toString("base64");

/** LUKS2 header areas (both copies): one as this system writes it, and ones that say something else, checksums right. */
export function luksHeaders(): Record<string, Uint8Array> {
  const good = metadata();
  const segments = (change: object) => ({ ...good, segments: { "0": { ...good.segments["0"], ...change } } });
  const keyslots = (change: object) => ({ ...good, keyslots: { "0": { ...good.keyslots["0"], ...change } } });
  const area = (change: object) => keyslots({ area: { ...good.keyslots["0"].area, ...change } });
  return {
    good: headers(good, good),
    keyslot_null: headers(area({ encryption: "cipher_null-ecb" }), good),
    keyslot_area: headers(area({ offset: "4096" }), good),
    sector4096: headers(segments({ sector_size: 4096 }), good),
    twokeys: headers({ ...good, keyslots: { ...good.keyslots, "1": good.keyslots["0"] } }, good),
    label: headers(good, good, "data"),
    flags: headers({ ...good, config: { ...good.config, flags: ["allow-discards"] } }, good),
    secondary_null: headers(good, segments({ encryption: "cipher_null-ecb" })),
  };
}

function metadata() {
  return {
    keyslots: {
      "0": {
        type: "luks2",
        key_size: 64,
        af: { type: "luks1", stripes: 4000, hash: "sha256" },
        area: { type: "raw", offset: "32768", size: "258048", encryption: "aes-xts-plain64", key_size: 64 },
        kdf: { type: "pbkdf2", hash: "sha256", iterations: 1000, salt: SALT },
      },
    },
    tokens: {},
    segments: {
      "0": {
        type: "crypt",
        offset: "16777216",
        size: "dynamic",
        iv_tweak: "0",
        encryption: "aes-xts-plain64",
        sector_size: 512,
      },
    },
    digests: {
      "0": {
        type: "pbkdf2",
        keyslots: ["0"],
        segments: ["0"],
        hash: "sha256",
        iterations: 1000,
        salt: SALT,
        digest: SALT,
      },
    },
    config: { json_size: "12288", keyslots_size: "16744448" },
  };
}

function headers(first: object, second: object, label = ""): Uint8Array {
  return concatBytes(headerCopy("LUKS", first, 0, label), headerCopy("SKUL", second, HEADER_BYTES, label));
}

function headerCopy(magic: string, json: object, offset: number, label: string): Uint8Array {
  const copy = new Uint8Array(HEADER_BYTES);
  const view = new DataView(copy.buffer);
  copy.set(concatBytes(utf8(magic), Uint8Array.of(0xba, 0xbe)), 0);
  view.setUint16(6, 2);
  view.setBigUint64(8, BigInt(HEADER_BYTES));
  view.setBigUint64(16, 1n);
  copy.set(utf8(label), 24);
  copy.set(utf8("sha256"), 72);
  copy.fill(magic.length + offset / HEADER_BYTES, 104, 168);
  copy.set(utf8("00000000-0000-4000-8000-000000000001"), 168);
  view.setBigUint64(256, BigInt(offset));
  copy.set(utf8(JSON.stringify(json)), 4096);
  copy.set(createHash("sha256").update(copy).digest(), 448);
  return copy;
}
