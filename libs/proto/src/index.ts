/**
 * Generated messages and service descriptors of every pRPC service.
 * One namespace per .proto file, because packages reuse message names.
 */
export * as vmm from "./gen/vmm_rpc_pb.ts";
export * as hostApi from "./gen/host_api_pb.ts";
export * as guestApi from "./gen/guest_api_pb.ts";
export * as kms from "./gen/kms_rpc_pb.ts";
export * as gateway from "./gen/gateway_rpc_pb.ts";
export * as agent from "./gen/agent_rpc_pb.ts";
export * as prpc from "./gen/prpc_pb.ts";
