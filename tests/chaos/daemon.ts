import type { DaemonProcess, ToldRoute } from "./daemon-process.ts";
import type { NastyUpstream } from "./nasty-upstream.ts";
import type { Message, Place } from "./wire-client.ts";

/** One listener of a daemon, as its callers reach it. */
export interface Listener {
  readonly name: string;
  readonly place: Place;
  /** Anybody, or whoever has a token or may open a socket file. */
  readonly reach: "stranger" | "token";
  readonly maxConnections: number;
  readonly routes: readonly ToldRoute[];
  /** Sent with every request of the walk. */
  readonly headers?: Readonly<Record<string, string>>;
  /** What to send to a route, by path, where a made-up request would not get far. */
  readonly seeds?: Readonly<Record<string, () => Message>>;
  /** Routes that end the daemon: only their heads are sent, and those not whole. */
  readonly ends?: readonly string[];
  /** Answered with 200 whatever happens to others. */
  readonly probe: Message;
}

/** A request that makes a daemon ask its upstreams. */
export interface DeepRequest {
  readonly name: string;
  readonly place: Place;
  readonly reach: "stranger" | "token";
  /** Another one each time, where the daemon remembers what it asked. */
  readonly make: () => Message;
  /** Fail one after the other, while the others are honest. */
  readonly upstreams: readonly NastyUpstream[];
  /** A good answer is kept for a while, so that not every failure of an upstream is met. */
  readonly remembers?: true;
  /** What its answer has while all are honest; left out where no honest answer can be had. */
  readonly honest?: RegExp;
}

export interface Daemon {
  readonly name: string;
  readonly process: DaemonProcess;
  readonly listeners: readonly Listener[];
  readonly deep: readonly DeepRequest[];
  readonly upstreams: readonly NastyUpstream[];
  /** Its exit code when it is told to stop; 0 unless given. */
  readonly exitCode?: number;
  /** Ends what it depends on. */
  close(): Promise<void>;
}
