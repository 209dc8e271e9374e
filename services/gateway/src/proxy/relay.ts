import type { Duplex } from "node:stream";

/**
 * Carries bytes both ways until both directions have ended. An end one way is passed on and
 * leaves the other way open; an error on either side closes both. `onClose` runs once, with the
 * error that ended it if one did.
 */
export function relay(
  client: Duplex,
  backend: Duplex,
  onClose: (error: NodeJS.ErrnoException | undefined) => void,
): void {
  let open = 2;
  let failure: NodeJS.ErrnoException | undefined;
  const closed = (): void => {
    open -= 1;
    if (open === 0) onClose(failure);
  };
  couple(client, backend);
  couple(backend, client);

  function couple(from: Duplex, to: Duplex): void {
    from.once("error", (error) => {
      failure ??= error;
    });
    from.once("close", () => {
      // Closed without an end: what the other side still expects will never come.
      if (!from.readableEnded || failure !== undefined) to.destroy();
      closed();
    });
    from.pipe(to);
  }
}
