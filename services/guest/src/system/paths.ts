/** The tunnel to the gateway, as `ip` and `wg` name it. */
export const GATEWAY_INTERFACE = "dstack-wg0";

/** Where everything lies in the guest's file system; tests point it at a folder of their own. */
export interface GuestPaths {
  /** RAM-backed work folder; also visible as /dstack. */
  readonly work: string;
  /** Private copy of the host share, and the secrets of this boot. */
  readonly hostShared: string;
  /** Where the data disk is mounted. */
  readonly persistent: string;
  readonly shareMount: string;
  /** The name that apps and scripts know the work folder by. */
  readonly dstack: string;
  readonly run: string;
  /** Where the agent's sockets lie. */
  readonly sockets: string;
  readonly imageInfo: string;
  readonly osRelease: readonly string[];
  readonly kernelCommandLine: string;
  /** Where opened disks appear. */
  readonly deviceMapper: string;
  /** Where a RAM file system holds the LUKS header while the disk is opened. */
  readonly luksHeader: string;
  readonly dockerSocket: string;
  readonly dockerConfig: string;
  /** Where Docker expects its state; the data disk is mounted there. */
  readonly dockerData: string;
  readonly wireguardConfig: string;
}

export const GUEST_PATHS: GuestPaths = {
  work: "/var/volatile/dstack",
  hostShared: "/var/volatile/dstack/.host-shared",
  persistent: "/var/volatile/dstack/persistent",
  shareMount: "/tmp/.host-shared",
  dstack: "/dstack",
  run: "/run/dstack",
  sockets: "/run",
  imageInfo: "/etc/dstack-image.json",
  osRelease: ["/etc/os-release", "/usr/lib/os-release"],
  kernelCommandLine: "/proc/cmdline",
  deviceMapper: "/dev/mapper",
  luksHeader: "/tmp/dstack-luks-header",
  dockerSocket: "/run/docker.sock",
  dockerConfig: "/etc/docker/daemon.json",
  dockerData: "/var/lib/docker",
  wireguardConfig: `/etc/wireguard/${GATEWAY_INTERFACE}.conf`,
};
