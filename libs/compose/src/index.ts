/** app-compose.json, the manifest of an app: bytes, parse, hash, policy, environment. Its compose file: ./docker. */
export { ComposeError } from "./errors.ts";
export type { ComposeErrorCode } from "./errors.ts";
export { APP_COMPOSE_MAX_BYTES, composeHash, parseAppCompose } from "./manifest/app-compose.ts";
export type {
  AppCompose,
  KeyProvider,
  ParsedAppCompose,
  PortPolicy,
  Requirements,
  StorageFs,
  VerityVolume,
} from "./manifest/app-compose.ts";
export { MAX_MANIFEST_VERSION } from "./manifest/manifest-version.ts";
export { buildAppCompose } from "./manifest/build-app-compose.ts";
export type { AppComposeOptions } from "./manifest/build-app-compose.ts";
export { appIdFromComposeHash, deriveInstanceId } from "./manifest/identity.ts";
export { normalisedComposeHash, normalisedComposeText } from "./manifest/normalised-hash.ts";
export { checkPolicy, launchTokenHash, osVersionSatisfies, PLATFORMS } from "./manifest/policy.ts";
export type { Platform, PolicyFacts, PolicyResult } from "./manifest/policy.ts";
export {
  ENCRYPTED_ENV_MAX_BYTES,
  isDangerousEnvName,
  isEnvName,
  renderEnvironment,
  renderEnvironmentJson,
  selectEnvironment,
} from "./environment.ts";
export type { SelectedEnvironment } from "./environment.ts";
