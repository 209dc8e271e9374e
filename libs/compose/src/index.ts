/** app-compose.json and the docker-compose.yaml in it: bytes, parse, hash, policy, lint, environment. */
export { ComposeError } from "./errors.ts";
export type { ComposeErrorCode } from "./errors.ts";
export { APP_COMPOSE_MAX_BYTES, composeHash, parseAppCompose } from "./app-compose.ts";
export type {
  AppCompose,
  KeyProvider,
  ParsedAppCompose,
  PortPolicy,
  Requirements,
  StorageFs,
  VerityVolume,
} from "./app-compose.ts";
export { MAX_MANIFEST_VERSION } from "./manifest-version.ts";
export { parseSize } from "./size.ts";
export { buildAppCompose } from "./build-app-compose.ts";
export type { AppComposeOptions } from "./build-app-compose.ts";
export { appIdFromComposeHash, deriveInstanceId } from "./identity.ts";
export { normalisedComposeHash, normalisedComposeText } from "./normalised-hash.ts";
export { checkPolicy, launchTokenHash, osVersionSatisfies, PLATFORMS } from "./policy.ts";
export type { Platform, PolicyFacts, PolicyResult } from "./policy.ts";
export {
  isDangerousEnvName,
  isEnvName,
  renderEnvironment,
  renderEnvironmentJson,
  selectEnvironment,
} from "./environment.ts";
export type { SelectedEnvironment } from "./environment.ts";
export {
  DOCKER_COMPOSE_MAX_BYTES,
  isPinnedImage,
  lintDockerCompose,
  listImages,
  replaceImages,
} from "./lint-docker-compose.ts";
export type { Finding } from "./lint-docker-compose.ts";
export { composeProject } from "./compose-services.ts";
export type { ComposeProject } from "./compose-services.ts";
