/**
 * Numbers of the Linux kernel's interface, x86-64 and arm64 alike, each with the page of its
 * manual. They never change: programs that were built with them must go on running.
 */

/** flock(2): an exclusive lock, which goes with the last descriptor of its open file. */
export const LOCK_EX = 2;
/** flock(2): fail with EWOULDBLOCK rather than wait. */
export const LOCK_NB = 4;
