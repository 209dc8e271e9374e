/** State files that survive a crash: written whole, flushed, renamed into place. */
export { removeIfExists, syncFolder, writeFileAtomic, writeJsonAtomic, writeSecret } from "./write-atomic.ts";
export { readIfExists, readTextIfExists } from "./read.ts";
export { freeDeadLock, holderOf, lockFile, lockFileWhenFree } from "./lock-file.ts";
export { FileLockError } from "./errors.ts";
export type { FileLock, LockHolder } from "./lock-file.ts";
export { cacheDirectory, stateDirectory } from "./xdg.ts";
