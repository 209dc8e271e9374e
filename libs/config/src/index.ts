/** Layered TOML and JSON configuration, checked against a schema, unknown keys named. */
export { ConfigError } from "./errors.ts";
export type { ConfigErrorCode } from "./errors.ts";
export { loadConfig, mergeDeep, parseConfigText } from "./load-config.ts";
export type { LoadConfigOptions } from "./load-config.ts";
export { parseDuration, parseSize } from "./units.ts";
