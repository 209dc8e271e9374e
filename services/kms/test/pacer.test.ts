import assert from "node:assert/strict";
import { test } from "node:test";
import { pacer } from "../src/release/pacer.ts";

test("work of many callers leaves room between for what else the process has to do", async () => {
  const pace = pacer();
  const order: string[] = [];
  const callers = Promise.all(
    Array.from({ length: 3 }, async (_, index) => {
      await pace();
      order.push(`caller ${index}`);
      // What an answer that has come in meanwhile would look like.
      setImmediate(() => order.push(`answer ${index}`));
    }),
  );
  await callers;
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(order, ["caller 0", "answer 0", "caller 1", "answer 1", "caller 2", "answer 2"]);
});
