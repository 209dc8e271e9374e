/** Version of the wire interface that this gateway speaks. */
export const VERSION = "0.6.0";

/** In the reference's form; a checkout that runs as it is has no commit baked in. */
export const VERSION_LINE = `v${VERSION} (git:${"0".repeat(20)})`;
