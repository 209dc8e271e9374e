/** Version of the interfaces in this package, as every service of ours names it. The product's own version is not this. */
export const WIRE_VERSION = "0.6.0";
