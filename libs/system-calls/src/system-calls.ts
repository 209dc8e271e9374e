/**
 * The one door to the kernel beside Node's own.
 * In: a descriptor that Node opened, and what to do with it.
 * Out: what the kernel said, as a value; an errno that nobody expects is a SystemCallError.
 * Never: a call that waits, a pointer that leaves this package, a guess where node:ffi is absent.
 */
import { flockOf, type Flock } from "./flock.ts";
import { openLibc } from "./libc.ts";

export type SystemCalls =
  | { readonly kind: "here"; readonly flock: Flock }
  | { readonly kind: "absent"; /** What to tell whoever needs a call. */ readonly reason: string };

let probed: SystemCalls | undefined;

/**
 * The calls, or why there are none. Asked of Node once per process: the answer is a fact of how it
 * was started, and loading the C library costs 3 ms that a program without locks need not pay.
 */
export function systemCalls(): SystemCalls {
  return (probed ??= probe());
}

function probe(): SystemCalls {
  const libc = openLibc();
  return typeof libc === "string" ? { kind: "absent", reason: libc } : { kind: "here", flock: flockOf(libc) };
}
