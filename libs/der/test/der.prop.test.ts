import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DerError, derElement, derUnsigned, readChildren, readDer, readUnsigned } from "@dstack/der";
import type { DerElement } from "@dstack/der";

test("every accepted element encodes back to the same bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      let element: DerElement;
      try {
        element = readDer(bytes);
      } catch (error) {
        assert.ok(error instanceof DerError);
        return;
      }
      assert.deepEqual(derElement(element.tag, element.content), bytes);
    }),
  );
});

test("children of any content are refused cleanly or cover it exactly", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (content) => {
      let children: DerElement[];
      try {
        children = readChildren(readDer(derElement(0x30, content)));
      } catch (error) {
        assert.ok(error instanceof DerError);
        return;
      }
      assert.equal(
        children.reduce((sum, child) => sum + child.raw.length, 0),
        content.length,
      );
    }),
  );
});

test("integers come back as written", () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 48 - 1 }), (value) => {
      assert.equal(readUnsigned(readDer(derUnsigned(value))), value);
    }),
  );
});
