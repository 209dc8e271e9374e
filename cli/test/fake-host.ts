import { create } from "@bufbuild/protobuf";
import { toHex, utf8 } from "@dstack/bytes";
import { composeHash } from "@dstack/compose";
import { decide, hypotheticalBoot, parseAuthConfig, readSwitches, type PolicyDocument } from "@dstack/governance";
import { vmm } from "@dstack/proto";
import type { AppPolicy } from "../src/apps/plan/app-policy.ts";
import { differencesOf, ruleFor } from "../src/apps/plan/app-policy.ts";
import type { PlanPorts } from "../src/apps/plan/plan.ts";
import type { VmmClient } from "../src/clients/vmm-client.ts";
import { CliError } from "../src/terminal/errors.ts";

/** A VM as the stand-in of a VMM keeps it. */
export interface FakeVm {
  readonly id: string;
  name: string;
  appId: string;
  instanceId: string;
  status: "running" | "stopped" | "exited" | "removing";
  bootProgress: string;
  bootError: string;
  composeFile: string;
  encryptedEnv: Uint8Array;
  image: string;
  vcpu: number;
  memory: number;
  diskSize: number;
  ports: { protocol: string; hostAddress: string; hostPort: number; vmPort: number }[];
  previous: Version | undefined;
}

/** What a rollback exchanges. */
type Version = Pick<FakeVm, "composeFile" | "encryptedEnv" | "image" | "vcpu" | "memory" | "ports">;
const versionOf = ({ composeFile, encryptedEnv, image, vcpu, memory, ports }: FakeVm): Version => ({
  composeFile,
  encryptedEnv,
  image,
  vcpu,
  memory,
  ports,
});

export interface FakeHost extends PlanPorts {
  readonly vms: FakeVm[];
  /** What was called that changes something, in order, policy included. */
  readonly log: string[];
  /** The text that a call by that name fails with from now on. */
  readonly failing: Map<string, string>;
  /** How a boot of this version ends. */
  boot: (vm: FakeVm) => "done" | "refused" | "ended";
  policyDocument: PolicyDocument;
  /** What the VMM tells of itself. */
  rules: { portMappingEnabled: boolean; maxAllocableVcpu: number; maxAllocableMemoryInMb: number };
  say: (text: string) => void;
  readonly said: string[];
}

export const hashOf = (text: string): string => toHex(composeHash(utf8(text)));

/** A VMM, a policy and a guest image, in memory; a boot ends in the moment of its start. */
export function fakeHost({ isOurs = true }: { isOurs?: boolean } = {}): FakeHost {
  const said: string[] = [];
  const policy: AppPolicy = {
    isOurs,
    read: async () => host.policyDocument,
    change: async (change) => {
      fail("policy");
      const differences = differencesOf(host.policyDocument, change);
      host.policyDocument = change(host.policyDocument);
      for (const { sign, path, value } of differences)
        if (path.endsWith("composeHashes") && value !== "(empty)")
          host.log.push(`policy ${sign} ${value.slice(2, 10)}`);
      return differences;
    },
    ask: async (version, document) => {
      const { config } = parseAuthConfig(JSON.stringify(document), readSwitches({}));
      const answer = decide(config, "app", hypotheticalBoot(version));
      return answer.isAllowed
        ? { kind: "allowed", rule: ruleFor(version), by: "auth-config.json" }
        : { kind: "denied", ...answer, command: undefined };
    },
  };
  const fail = (name: string): void => {
    const text = host.failing.get(name);
    if (text !== undefined) throw new CliError("failed", text);
  };
  const find = (id: string): FakeVm => {
    const vm = host.vms.find((each) => each.id === id || (each.name === id && each.status !== "removing"));
    if (vm === undefined) throw new CliError("not-found", `no app is named ${id}`);
    return vm;
  };
  const start = (vm: FakeVm): void => {
    const outcome = host.boot(vm);
    Object.assign(
      vm,
      {
        done: { status: "running", bootProgress: "done", bootError: "", instanceId: "22".repeat(20) },
        refused: { status: "exited", bootProgress: "requesting app keys", bootError: "compose hash not allowed" },
        ended: { status: "exited", bootProgress: "setting up docker", bootError: "" },
      }[outcome],
    );
  };
  const methods: Readonly<Record<string, (request: never) => unknown>> = {
    GetInfo: ({ id }: { id: string }) => {
      const vm = host.vms.find((each) => each.id === id);
      return vm === undefined ? { found: false } : { found: true, info: infoOf(vm) };
    },
    Status: () => ({ portMappingEnabled: host.rules.portMappingEnabled }),
    GetMeta: () => ({ resources: host.rules }),
    CreateVm: (request: Omit<FakeVm, "id">) => {
      const vm: FakeVm = {
        ...request,
        id: `vm-${host.vms.length}`,
        instanceId: "",
        status: "stopped",
        bootProgress: "",
        bootError: "",
        previous: undefined,
      };
      host.vms.push(vm);
      start(vm);
      return { id: vm.id };
    },
    UpdateVm: ({ id, updatePorts, ports, ...fields }: Partial<FakeVm> & { id: string; updatePorts?: boolean }) => {
      const vm = find(id);
      if (fields.composeFile !== undefined || fields.encryptedEnv !== undefined) vm.previous = versionOf(vm);
      if (["image", "vcpu", "memory", "diskSize"].some((key) => key in fields) && vm.status === "running")
        throw new CliError("failed", "vm should be stopped before resize");
      Object.assign(vm, fields, updatePorts === true ? { ports } : {});
      return { id: "" };
    },
    StartVm: ({ id }: { id: string }) => (start(find(id)), {}),
    StopVm: ({ id }: { id: string }) => ((find(id).status = "stopped"), {}),
    ShutdownVm: ({ id }: { id: string }) => ((find(id).status = "stopped"), {}),
    RemoveVm: ({ id }: { id: string }) => ((find(id).status = "removing"), {}),
  };
  const client = {
    url: "http://fake",
    token: undefined,
    isLocal: true,
    call: async (method: { readonly name: string }, request: never) => {
      if (!["GetInfo", "Status", "GetMeta"].includes(method.name)) {
        fail(method.name);
        host.log.push(method.name);
      }
      const handle = methods[method.name];
      if (handle === undefined) throw new Error(`the fake VMM has no ${method.name}`);
      return handle(request);
    },
    list: async () => host.vms.map(infoOf),
    find: async (name: string) => infoOf(find(name)),
    previousVersion: async (id: string) => {
      const { previous } = find(id);
      return previous === undefined ? undefined : { composeHash: hashOf(previous.composeFile), savedAt: "" };
    },
    rollBack: async (id: string) => {
      fail("rollback");
      const vm = find(id);
      if (vm.previous === undefined) throw new CliError("not-found", "no earlier version");
      Object.assign(vm, vm.previous, { previous: versionOf(vm) });
      host.log.push("rollback");
      return hashOf(vm.composeFile);
    },
  } as unknown as VmmClient;
  const host: FakeHost = {
    vms: [],
    log: [],
    failing: new Map(),
    boot: () => "done",
    policyDocument: {},
    rules: { portMappingEnabled: true, maxAllocableVcpu: 64, maxAllocableMemoryInMb: 65_536 },
    imageStorageFs: async () => undefined,
    vmm: client,
    policy,
    digests: async () => undefined,
    osImageHash: async () => "11".repeat(32),
    encrypt: async (appId, pairs) => utf8(`${appId}:${pairs.map(({ key, value }) => `${key}=${value}`).join()}`),
    said,
    say: (text) => void said.push(text),
  };
  return host;
}

function infoOf(vm: FakeVm): vmm.VmInfo {
  const { id, name, appId, status, bootProgress, bootError, instanceId, ...configuration } = vm;
  const { composeFile, encryptedEnv, image, vcpu, memory, diskSize, ports } = configuration;
  return create(vmm.VmInfoSchema, {
    id,
    name,
    appId,
    status,
    bootProgress,
    bootError,
    ...(instanceId === "" ? {} : { instanceId }),
    configuration: { name, appId, composeFile, encryptedEnv, image, vcpu, memory, diskSize, ports },
  });
}

/** Compose hashes that the policy allows the app. */
export const allowed = ({ policyDocument }: FakeHost, appId: string): readonly string[] =>
  (policyDocument.apps?.[`0x${appId}`]?.composeHashes ?? []).map((hash) => hash.slice(2));
