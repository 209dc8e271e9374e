/** Layered TOML and JSON configuration, checked against a schema, what nothing reads named. */
export { ConfigError } from "./errors.ts";
export type { ConfigErrorCode } from "./errors.ts";
export { loadConfig, warnOf } from "./load-config.ts";
export type { LoadConfigOptions, LoadedConfig } from "./load-config.ts";
export { schemaKeys } from "./schema-keys.ts";
export type { SchemaKey } from "./schema-keys.ts";
export { oneOrMore } from "./one-or-more.ts";
export { mergeDeep } from "./table.ts";
export type { UnknownKey } from "./unknown-keys.ts";
export { refused, silent, told } from "./unread-keys.ts";
export type { UnreadKey } from "./unread-keys.ts";
export { listenOfEnvironment, parseListen, parseTcpListen } from "./listen.ts";
export type { ListenAddress, TcpAddress } from "./listen.ts";
export { parseDuration } from "./units.ts";
export type { DurationOptions } from "./units.ts";
