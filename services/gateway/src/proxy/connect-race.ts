import { connect, type Socket } from "node:net";

export interface Candidate {
  readonly host: string;
  readonly port: number;
}

export type RaceResult<C extends Candidate> =
  | { readonly kind: "connected"; readonly socket: Socket; readonly candidate: C }
  | { readonly kind: "failed"; readonly reason: string };

/** Connects to all candidates at once; the first that answers wins, the others are dropped. Never rejects. */
export function connectRace<C extends Candidate>(candidates: readonly C[], timeoutMs: number): Promise<RaceResult<C>> {
  return new Promise((resolve) => {
    const attempts: { readonly socket: Socket; readonly release: () => void }[] = [];
    const reasons: string[] = [];
    const finish = (result: RaceResult<C>, winner?: Socket): void => {
      clearTimeout(timer);
      for (const { socket, release } of attempts) {
        release();
        if (socket === winner) continue;
        socket.on("error", () => undefined); // A lost attempt may still fail; nobody is left to care.
        socket.destroy();
      }
      resolve(result);
    };
    const timer = setTimeout(
      () => finish({ kind: "failed", reason: `no connection within ${timeoutMs} ms` }),
      timeoutMs,
    );
    for (const candidate of candidates) {
      const socket = connect({ host: candidate.host, port: candidate.port, noDelay: true, allowHalfOpen: true });
      const connected = (): void => finish({ kind: "connected", socket, candidate }, socket);
      const failed = (error: NodeJS.ErrnoException): void => {
        reasons.push(`${candidate.host}:${candidate.port} ${error.code ?? error.message}`);
        if (reasons.length === candidates.length) finish({ kind: "failed", reason: reasons.join(", ") });
      };
      socket.once("connect", connected).once("error", failed);
      attempts.push({ socket, release: () => socket.off("connect", connected).off("error", failed) });
    }
    if (candidates.length === 0) finish({ kind: "failed", reason: "no candidate" });
  });
}
