import { WIRE_VERSION } from "@dstack/proto/wire";

/** In the reference's form; a checkout that runs as it is has no commit baked in. */
export const VERSION_LINE = `v${WIRE_VERSION} (git:${"0".repeat(20)})`;
