/**
 * Verifiers that rebuild the virtual hardware find the digests of the ACPI tables by their names in the log: where one
 * is missing, they refuse the guest.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { decodeAttestation, parseCcel, runtimeEntries } from "@dstack/attest";
import { parseHex } from "@dstack/bytes";
import { createAgent, listen, type Listeners } from "../src/index.ts";
import { ownVectors } from "../../../tests/vectors/vector-sets.ts";
import { recordedPorts } from "./fixture.ts";

const NAMES = ["acpi-loader", "acpi-rsdp", "acpi-tables"];

describe("the three ACPI events of a guest's own firmware log carry their names", () => {
  let folder: string;
  let listeners: Listeners;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "dstack-acpi-"));
    const ports = recordedPorts();
    const firmware = parseCcel(ownVectors.bytes("attestation/ccel/ccel.bin"));
    const attest: typeof ports.tee.attest = async (reportData, config) => {
      const { platform, ...attestation } = await ports.tee.attest(reportData, config);
      const eventLog = [...firmware, ...runtimeEntries(attestation.runtimeEvents)];
      return { ...attestation, platform: { ...platform, eventLog } };
    };
    listeners = await listen(createAgent({ ...ports, tee: { emit: ports.tee.emit, attest } }), {
      folder,
      publicListen: { path: join(folder, "public.sock") },
    });
  });
  after(async () => {
    await listeners.close();
    await rm(folder, { recursive: true, force: true });
  });

  const ask = (socket: string, path: string): Promise<Record<string, string>> =>
    new Promise((resolve, reject) => {
      request({ socketPath: join(folder, socket), path, agent: false }, (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString()));
        response.on("end", () => resolve(JSON.parse(text) as Record<string, string>));
      })
        .on("error", reject)
        .end();
    });
  const namesIn = (log: readonly { readonly imr: number; readonly event: string }[]): readonly string[] =>
    log.filter(({ imr, event }) => imr === 0 && event !== "").map(({ event }) => event);
  const namesInText = (text: string | undefined): readonly string[] =>
    namesIn(JSON.parse(text ?? "[]") as { imr: number; event: string }[]);
  const namesInAttestation = (hex: string | undefined): readonly string[] =>
    namesIn(decodeAttestation(parseHex(hex ?? "")).platform.eventLog);

  it("in Attest and GetQuote", async () => {
    assert.deepEqual(namesInAttestation((await ask("dstack.sock", "/Attest?report_data=00"))["attestation"]), NAMES);
    assert.deepEqual(namesInText((await ask("dstack.sock", "/GetQuote?report_data=00"))["event_log"]), NAMES);
  });

  it("in /evidence", async () => {
    const evidence = await ask("public.sock", "/evidence?nonce=00");
    assert.deepEqual(namesInAttestation(evidence["attestation"]), NAMES);
    assert.deepEqual(namesInText(evidence["event_log"]), NAMES);
  });

  it("in tcb_info, to the app and to everybody", async () => {
    for (const [socket, path] of [
      ["dstack.sock", "/Info"],
      ["public.sock", "/prpc/Worker.Info?json"],
    ] as const) {
      const { event_log } = JSON.parse((await ask(socket, path))["tcb_info"] ?? "{}") as {
        event_log: { imr: number; event: string }[];
      };
      assert.deepEqual(namesIn(event_log), NAMES, path);
    }
  });
});
