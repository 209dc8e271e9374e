import { test } from "node:test";
import { hammerOneLock, raceForDeadLock } from "./lock-race.ts";

test("of many processes that find a dead holder's lock at once, exactly one gets it, 2,000 times", (t) =>
  raceForDeadLock(t, 2000));

test("processes that take and free one lock 2,000 times as fast as they can never hold it together", (t) =>
  hammerOneLock(t, 2000));
