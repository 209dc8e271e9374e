import assert from "node:assert/strict";
import { test } from "node:test";
import { wouldRestart } from "../src/app/restart-policy.ts";

/** As Docker 26.1.5 of the guest image did after a power cut and after a stop. */
test("containers come back as Docker itself would start them again", () => {
  const started = {
    HasBeenStartedBefore: true,
    HasBeenManuallyStopped: false,
    RestartCount: 0,
    State: { ExitCode: 255 },
  };
  const policy = (Name: string, MaximumRetryCount = 0): object => ({ RestartPolicy: { Name, MaximumRetryCount } });
  for (const [name, config, host, expected] of [
    ["always", started, policy("always"), true],
    ["always, stopped by hand", { ...started, HasBeenManuallyStopped: true }, policy("always"), true],
    ["always, never started", { ...started, HasBeenStartedBefore: false }, policy("always"), false],
    ["unless-stopped", started, policy("unless-stopped"), true],
    ["unless-stopped, stopped by hand", { ...started, HasBeenManuallyStopped: true }, policy("unless-stopped"), false],
    ["on-failure", started, policy("on-failure"), true],
    ["on-failure, ended well", { ...started, State: { ExitCode: 0 } }, policy("on-failure"), false],
    ["on-failure, not often enough yet", { ...started, RestartCount: 2 }, policy("on-failure", 3), true],
    ["on-failure, too often", { ...started, RestartCount: 3 }, policy("on-failure", 3), false],
    ["no", started, policy("no"), false],
    ["none", started, policy(""), false],
    ["no policy", started, {}, false],
    ["no state", { HasBeenStartedBefore: true }, policy("on-failure"), false],
    ["not an object", null, policy("always"), false],
    ["no host configuration", started, null, false],
  ] as const)
    assert.equal(wouldRestart(config, host), expected, name);
});
