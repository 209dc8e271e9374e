import { createSecureContext } from "node:tls";
import type { Listener } from "../daemon.ts";
import type { ToldListener } from "../daemon-process.ts";
import type { Place } from "../wire-client.ts";

/** What a listener told of itself, with what its callers know of it. */
export function listenerOf(
  told: ToldListener | undefined,
  known: Omit<Listener, keyof ToldListener | "place"> & { readonly isTls?: boolean },
): Listener {
  if (told === undefined) throw new Error(`${known.name} told no routes`);
  return { maxConnections: told.maxConnections, routes: told.routes, place: placeOf(told, known.isTls), ...known };
}

function placeOf({ address }: ToldListener, isTls = false): Place {
  if (address.startsWith("/")) return { path: address };
  const at = address.lastIndexOf(":");
  return {
    host: address.slice(0, at),
    port: Number(address.slice(at + 1)),
    ...(isTls ? { tls: createSecureContext() } : {}),
  };
}
