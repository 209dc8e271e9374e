import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { diskContent, validateLuksHeader } from "../src/disk/luks-header.ts";
import { vectorSets, type VectorSet } from "../../../tests/vectors/vector-sets.ts";

/** Changes the metadata of both copies and puts the checksums right, as an attacker would. */
function forged({ bytes }: VectorSet, change: (json: string) => string): Uint8Array {
  const area = bytes("guest/luks/good.hdr").slice();
  for (const offset of [0, 16_384]) {
    const json = area.subarray(offset + 4096, offset + 16_384);
    const text = change(Buffer.from(json.subarray(0, json.indexOf(0))).toString());
    json.fill(0);
    json.set(Buffer.from(text));
    resum(area, offset);
  }
  return area;
}

function resum(area: Uint8Array, offset: number): void {
  const copy = area.subarray(offset, offset + 16_384);
  copy.fill(0, 448, 512);
  copy.set(createHash("sha256").update(copy).digest(), 448);
}

for (const set of vectorSets("guest/luks")) {
  describe(`LUKS2 header (${set.name})`, () => {
    it("is accepted in the form that we write", () => {
      validateLuksHeader(set.bytes("guest/luks/good.hdr"));
      validateLuksHeader(forged(set, (json) => json));
    });

    for (const [name, reason] of [
      ["keyslot_null", /keyslot encryption \(first/],
      ["keyslot_area", /keyslot area/],
      ["sector4096", /segment sector size/],
      ["twokeys", /keyslots/],
      ["label", /label/],
      ["flags", /config flags/],
      ["secondary_null", /segment encryption \(second/],
    ] as const) {
      it(`refuses ${name} (CVE-2025-59054)`, () => {
        assert.throws(() => validateLuksHeader(set.bytes(`guest/luks/${name}.hdr`)), {
          code: "disk-invalid",
          message: reason,
        });
      });
    }

    it("refuses every change of what decides about encryption, with right checksums", () => {
      const replace =
        (from: string | RegExp, to: string) =>
        (json: string): string => {
          const changed = json.replace(from, to);
          assert.notEqual(changed, json, `${from} is in the header`);
          return changed;
        };
      const changes: [(json: string) => string, RegExp][] = [
        [
          (json) => json.replace(/("segments".*?"encryption":)"aes-xts-plain64"/, '$1"cipher_null-ecb"'),
          /segment encryption/,
        ],
        [replace('"offset":"16777216"', '"offset":"0"'), /segment offset/],
        [replace('"size":"dynamic"', '"size":"512"'), /segment size/],
        [
          replace('"sector_size":512', '"sector_size":512,"integrity":{"type":"none"}'),
          /unexpected member "integrity"/,
        ],
        [replace('"iv_tweak":"0"', '"iv_tweak":"1"'), /iv_tweak/],
        [replace('"type":"crypt"', '"type":"linear"'), /segment type/],
        [replace('"tokens":{}', '"tokens":{"0":{"type":"x"}}'), /tokens/],
        [replace('"config":{', '"config":{"requirements":["x"],'), /config requirements/],
        [replace('"config":{', '"extra":{},"config":{'), /unexpected member "extra"/],
        [replace(/"key_size":64/, '"key_size":32'), /key size/],
        [replace('"kdf":{"type":"pbkdf2"', '"kdf":{"type":"argon2id"'), /kdf/],
        [replace('"stripes":4000', '"stripes":1'), /keyslot af/],
        [
          replace(
            /"digests":\{"0":\{"type":"pbkdf2","keyslots":\["0"\]/,
            '"digests":{"0":{"type":"pbkdf2","keyslots":["0","1"]',
          ),
          /digest keyslots/,
        ],
      ];
      for (const [change, reason] of changes)
        assert.throws(
          () => validateLuksHeader(forged(set, change)),
          { code: "disk-invalid", message: reason },
          String(reason),
        );
    });

    it("refuses a wrong checksum, size, version and a cut-off area", () => {
      const damaged = (change: (area: Uint8Array) => void): Uint8Array => {
        const area = set.bytes("guest/luks/good.hdr").slice();
        change(area);
        return area;
      };
      assert.throws(() => validateLuksHeader(damaged((area) => (area[5000] = 0x20))), /checksum \(first/);
      assert.throws(() => validateLuksHeader(damaged((area) => (area[7] = 1))), /version/);
      assert.throws(() => validateLuksHeader(damaged((area) => area.fill(0xff, 8, 16))), /header size/);
      assert.throws(() => validateLuksHeader(damaged((area) => area.fill(0, 8, 16))), /header size/);
      assert.throws(() => validateLuksHeader(set.bytes("guest/luks/good.hdr").subarray(0, 20_000)), /cut off/);
      assert.throws(() => validateLuksHeader(new Uint8Array(0)), /cut off/);
    });

    it("tells blank, ours, damaged and foreign disks apart", () => {
      const good = set.bytes("guest/luks/good.hdr");
      assert.equal(diskContent(new Uint8Array(65_536)), "blank");
      assert.equal(diskContent(good), "luks");
      const primaryLost = good.slice();
      primaryLost.fill(0, 0, 4096);
      assert.equal(diskContent(primaryLost), "damaged-luks", "a disk with data must never count as blank");
      const foreign = new Uint8Array(65_536);
      foreign[1080] = 0x53;
      assert.equal(diskContent(foreign), "other");
    });
  });
}
