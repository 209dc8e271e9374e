/**
 * Gives each caller a turn of the event loop of its own. Verifications keep the one thread busy;
 * without turns, those of a thousand guests run back to back while answers of the auth server lie
 * unread until their deadlines are over.
 */
export function pacer(): () => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  return () => {
    last = last.then(() => new Promise((resolve) => setImmediate(resolve)));
    return last;
  };
}
