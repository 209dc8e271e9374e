import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { join } from "node:path";
import { createLogger } from "@dstack/log";
import { vmm } from "@dstack/proto";
import { vmmConfigSchema } from "../../src/config/config-schema.ts";
import { checkVmmConfig } from "../../src/config/vmm-config.ts";
import { createFleet, type Fleet } from "../../src/fleet/fleet.ts";
import type { SupervisedProcess, SupervisorClient } from "../../src/supervisor/supervisor-client.ts";
import { composeFile } from "../vmm-process.ts";

/** A supervisor in memory: what is deployed runs until it is stopped, unless a test says otherwise. */
export interface FakeSupervisor extends SupervisorClient {
  readonly processes: Map<string, SupervisedProcess>;
  /** Awaited before the answer of `list`, after its content is fixed. */
  listAnswers: Promise<unknown>;
  /** Whether `stop` ends anything. */
  stops: boolean;
}

export function fakeSupervisor(): FakeSupervisor {
  const processes = new Map<string, SupervisedProcess>();
  const state = (status: SupervisedProcess["state"]["status"]): SupervisedProcess["state"] => ({
    status,
    started: status === "running",
    pid: 1,
    started_at: 1,
    stopped_at: null,
  });
  const fake: FakeSupervisor = {
    processes,
    listAnswers: Promise.resolve(),
    stops: true,
    ping: async () => true,
    deploy: async ({ id, name, command, args, cid, note, pidfile }) => {
      const config = { id, name, command, args: [...args], cid, note, pidfile };
      processes.set(id, { config, state: state("running") });
    },
    stop: async (id) => {
      const known = processes.get(id);
      if (known !== undefined && fake.stops) processes.set(id, { ...known, state: state("stopped") });
    },
    remove: async (id) => void processes.delete(id),
    list: async () => {
      const answer = [...processes.values()];
      await fake.listAnswers;
      return answer;
    },
    info: async (id) => processes.get(id),
  };
  return fake;
}

/** A fleet over a host of `makeHost`, with no VMM around it. */
export function startFleet(dir: string, supervisor: SupervisorClient): Fleet {
  return createFleet({
    config: checkVmmConfig(
      vmmConfigSchema.parse({ run_path: join(dir, "vm"), image: { path: join(dir, "images") } }),
      dir,
    ),
    qemu: { path: join(dir, "bin/qemu-system-x86_64"), imgPath: join(dir, "bin/qemu-img"), version: "10.0.2" },
    accelerator: async () => ({ kind: "tcg", reason: "a test" }),
    clock: Date,
    supervisor,
    ensureSupervisor: async () => undefined,
    hostApi: () => async () => ({ status: 400, json: { error: "no host" } }),
    log: createLogger({ name: "test", level: "silent" }),
    removePollMs: 20,
  });
}

/** A CreateVm request. */
export const newVmRequest = (over: MessageInitShape<typeof vmm.VmConfigurationSchema> = {}): vmm.VmConfiguration =>
  create(vmm.VmConfigurationSchema, {
    name: "hello",
    image: "dstack-0.6.0",
    composeFile: composeFile(),
    vcpu: 1,
    memory: 1024,
    diskSize: 1,
    noTee: true,
    ...over,
  });
