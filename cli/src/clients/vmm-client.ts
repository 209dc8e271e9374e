import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { readTextIfExists } from "@dstack/files";
import { vmm } from "@dstack/proto";
import { callRpc, httpTransport, RpcError } from "@dstack/rpc";
import { CliError } from "../terminal/errors.ts";
import type { StackLayout } from "../local/layout.ts";

type VmmMethods = typeof vmm.Vmm.method;

export interface VmmClient {
  readonly url: string;
  readonly token: string | undefined;
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>>;
  /** The one CVM of that name or id. @throws CliError `not-found` */
  find(nameOrId: string): Promise<vmm.VmInfo>;
  list(): Promise<readonly vmm.VmInfo[]>;
}

export const vmmMethods: VmmMethods = vmm.Vmm.method;

/** A client of the VMM at $DSTACK_VMM_URL with $DSTACK_VMM_TOKEN, or of the local deployment. */
export async function vmmClient(layout: StackLayout, env: NodeJS.ProcessEnv): Promise<VmmClient> {
  const url = env["DSTACK_VMM_URL"] ?? `http://127.0.0.1:${layout.ports.vmm}`;
  const token = env["DSTACK_VMM_TOKEN"] ?? (await readTextIfExists(layout.vmmToken))?.trim();
  const transport = httpTransport({
    baseUrl: `${url}/prpc`,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
  const call: VmmClient["call"] = async (method, request) => {
    try {
      return await callRpc(transport, method, request);
    } catch (error) {
      if (error instanceof RpcError && error.code === "transport-failed") {
        throw new CliError("failed", `the VMM at ${url} does not answer`, {
          cause: error,
          hint: "start the local deployment with `dstack up`, or set DSTACK_VMM_URL",
        });
      }
      throw error;
    }
  };
  const list = async (): Promise<readonly vmm.VmInfo[]> => (await call(vmmMethods.status, {})).vms;
  return {
    url,
    token,
    call,
    list,
    find: async (nameOrId) => {
      const all = await list();
      const found = all.filter(
        (vm) =>
          vm.id === nameOrId ||
          vm.name === nameOrId ||
          vm.appId === nameOrId ||
          (nameOrId.length >= 6 && vm.id.startsWith(nameOrId)),
      );
      if (found.length === 1 && found[0] !== undefined) return found[0];
      if (found.length > 1)
        throw new CliError(
          "usage",
          `${nameOrId} names ${found.length} apps; use the VM id: ${found.map((vm) => vm.id).join(", ")}`,
        );
      throw new CliError("not-found", `no app is named ${nameOrId}`, { hint: "`dstack apps` lists them" });
    },
  };
}
