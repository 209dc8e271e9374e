import type * as Ffi from "node:ffi";

/** The functions of the C library in use; a new call is one row here and one file beside flock.ts. */
const FUNCTIONS = {
  flock: { arguments: ["int32", "int32"], return: "int32" },
  __errno_location: { arguments: [], return: "pointer" },
} as const;

export interface Libc {
  readonly functions: Ffi.DynamicLibraryResult<typeof FUNCTIONS>["functions"];
  /** errno(3) of this thread. To be read straight after the call that failed. */
  errno(): number;
}

/** The C library that this process runs on, or why it cannot be reached. */
export function openLibc(): Libc | string {
  try {
    const ffi = loadFfi();
    if (ffi === undefined) return "node:ffi is not there: it needs Node 26.1 or newer without --no-experimental-ffi";
    const { functions } = ffi.dlopen(null, FUNCTIONS);
    return { functions, errno: () => ffi.getInt32(functions.__errno_location()) };
  } catch (error) {
    return `node:ffi cannot be used: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/**
 * Node warns on standard error whenever the module is loaded, since it may change. The Node that
 * runs this is pinned, and a user of `dstack` can do nothing about it: that one warning is dropped.
 */
function loadFfi(): typeof Ffi | undefined {
  const { emitWarning } = process;
  process.emitWarning = () => undefined;
  try {
    return process.getBuiltinModule("node:ffi");
  } finally {
    process.emitWarning = emitWarning;
  }
}
