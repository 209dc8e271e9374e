import type { StackLayout } from "./layout.ts";

/** Builds the demo app's image from Debian's busybox and puts it into the loopback registry. */
export async function publishHelloImage(layout: StackLayout): Promise<void> {
  throw new Error(`not yet: ${layout.ports.registry}`);
}
