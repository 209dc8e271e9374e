import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { CliError } from "../terminal/errors.ts";

/** Whether something listens on a loopback TCP port. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, timeout: 1_000 });
    const answer = (value: boolean): void => {
      socket.destroy();
      resolve(value);
    };
    socket.once("connect", () => answer(true));
    socket.once("error", () => answer(false));
    socket.once("timeout", () => answer(false));
  });
}

/** Waits until nothing listens on the ports any more. @throws CliError naming the port that stays taken */
export async function waitPortsFree(ports: readonly number[], timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (const port of ports) {
    while (await accepts(port)) {
      if (Date.now() > deadline)
        throw new CliError("failed", `port ${port} is taken by another program`, {
          hint: `see who has it: ss -ltnp 'sport = :${port}'; or move all ports: DSTACK_PORT_BASE=20000`,
        });
      await sleep(100);
    }
  }
}
