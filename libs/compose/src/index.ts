/** app-compose.json and the docker-compose.yaml in it: bytes, parse, hash, policy, lint, environment. */
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
export { parseSize } from "./manifest/size.ts";
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
export {
  DOCKER_COMPOSE_MAX_BYTES,
  isPinnedImage,
  lintDockerCompose,
  listImages,
  replaceImages,
} from "./docker/lint.ts";
export type { Finding } from "./docker/lint.ts";
export { composeProject } from "./docker/services.ts";
export type { ComposeProject } from "./docker/services.ts";
