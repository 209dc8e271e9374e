import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ROOT } from "./workspaces.ts";

/** Readers that take text which says a thing twice, or replace what is no text: two names may become one. */
const LENIENT = /\bJSON\.parse\(|new TextDecoder\(\)|new TextDecoder\("utf-?8"\)|\.toString\("utf-?8"\)/;

/** What reads so for a reason. Text from elsewhere goes through `parseJson` and `utf8Decode`. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  "cli/src/apps/plan/environment.ts": "bootstrap-info.json of the local deployment, written by our KMS",
  "cli/src/apps/plan/manifest-diff.ts": "manifests that were read strictly before",
  "cli/src/auth/dry-run.ts": "requests of our own client to a relay of our own",
  "cli/src/auth/hash-from-file.ts": "text of a file, which is parsed strictly after",
  "cli/src/clients/gateway-client.ts": "a page, shown or parsed strictly after",
  "cli/src/clients/vmm-client.ts": "words of a refusal, shown; answers are parsed strictly",
  "cli/src/evidence/inputs.ts": "PEM",
  "cli/src/local/managed-process.ts": "log lines of programs of ours",
  "cli/src/local/stack-file.ts": "our own file",
  "cli/src/measure/compose-hash.ts": "a manifest to hash; what a guest would refuse in it is said beside",
  "libs/attest/src/gpu-launch.ts": "written again and compared, which no second member survives",
  "libs/attest/src/trust-anchor.ts": "an element of a certificate, compared by bytes",
  "libs/audit-log/src/chain.ts": "our own file, whose lines are hashed as they are",
  "libs/bytes/src/strict-json.ts": "the strict reader",
  "libs/compose/src/manifest/strict-json.ts": "one literal of a strict reader that keeps places",
  "libs/governance/src/chain/endpoint.ts": "a request of our own library",
  "libs/governance/src/conformance.ts": "words of a server under test; answers are parsed strictly",
  "libs/governance/src/history.ts": "written again and compared, which no second member survives",
  "libs/governance/src/webhook-client.ts": "words of a refusal, shown; answers are parsed strictly",
  "libs/image/src/builder/recipe.ts": "our own files",
  "libs/image/src/oci/push-image.ts": "words of a refusal, shown",
  "libs/key-backup/src/json-file.ts": "written again and compared, which no second member survives",
  "libs/log/src/logger.ts": "our own lines",
  "libs/process/src/run.ts": "what programs print, shown or parsed after",
  "libs/vm-channel/src/rpc-over-channel.ts": "what our own RPC core wrote a moment before",
  "libs/wireguard/src/link.ts": "what the system's `ip` prints",
  "services/gateway/src/registration/legacy-state.ts": "the gateway's own file",
  "services/gateway/src/registration/state-file.ts": "the gateway's own file",
  "services/gateway/src/wireguard/tunnel.ts": "the gateway's own file",
  "services/guest/src/app/docker-api.ts": "answers of the guest's own Docker",
  "services/guest/src/identity/evidence-verifier.ts": "a file of the image, written by the simulator",
  "services/guest/src/system/image-info.ts": "a file of the image",
  "services/kms/src/keys/key-store.ts": "the KMS's own file",
  "services/supervisor/src/records.ts": "the supervisor's own files",
  "services/tee-simulator/src/fuse/protocol.ts": "the kernel's messages, in development alone",
  "services/vmm/src/api/boot-advice.ts": "files of a VM's folder, written by the VMM",
  "services/vmm/src/api/vm-info.ts": "files of a VM's folder, written by the VMM",
  "services/vmm/src/fleet/watch.ts": "a note of the VMM's own",
  "services/vmm/src/launch/accelerator.ts": "the VMM's own file",
  "services/vmm/src/logs/log-reader.ts": "a console's text, shown",
  "services/vmm/src/supervisor/supervisor-client.ts": "a note of the VMM's own",
  "services/vmm/src/vm/app-version.ts": "files of a VM's folder, written by the VMM",
  "services/vmm/src/vm/manifest.ts": "files of a VM's folder, written by the VMM",
  "services/vmm/src/vm/replace-files.ts": "files of a VM's folder, written by the VMM",
  "services/vmm/src/vm/vm-folder.ts": "files of a VM's folder, written by the VMM",
};

describe("text from elsewhere", () => {
  const lenient = new Set(
    globSync(["{libs,services}/*/src/**/*.ts", "cli/src/**/*.ts"], { cwd: ROOT }).filter((file) =>
      LENIENT.test(readFileSync(join(ROOT, file), "utf8")),
    ),
  );

  test("is read by the strict readers, but for what is listed here", () => {
    const unlisted = [...lenient].filter((file) => !(file in EXCEPTIONS));
    assert.deepEqual(unlisted, [], "use parseJson and utf8Decode of @dstack/bytes");
  });

  test("has no exception that nobody needs any more: a later lenient reader there would go unseen", () => {
    const stale = Object.keys(EXCEPTIONS).filter((file) => !lenient.has(file));
    assert.deepEqual(stale, [], "take these out of the list");
  });

  test("is seen where it is read otherwise", () => {
    for (const text of ["JSON.parse(x)", "new TextDecoder().decode(x)", 'body.toString("utf8")'])
      assert.ok(LENIENT.test(text), text);
    assert.ok(!LENIENT.test('parseJson(utf8Decode(x)); new TextDecoder("utf-8", { fatal: true })'));
  });
});
