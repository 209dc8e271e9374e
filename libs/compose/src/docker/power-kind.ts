/** What a service may do beyond its containers. */
export type PowerKind =
  | "privileged"
  | "docker"
  | "host-network"
  | "host-pid"
  | "host-ipc"
  | "host-namespace"
  | "capabilities"
  | "devices"
  | "unconfined"
  /** A driver that is a program of somebody else, with Docker's own rights. */
  | "plugin"
  /** Files of the guest that are not the app's, nor known to be harmless. */
  | "guest-files"
  /** The agent's socket: ordinary, and the app's keys. */
  | "guest-socket"
  /** A variable decides from outside the file whether there is a power. */
  | "variable";
