/** docker-compose.yaml as docker compose of the guest image reads it: one reader, many questions. */
export { parseImageReference, isPinnedImage } from "./image-reference.ts";
export type { ImageReference } from "./image-reference.ts";
export { builtServices, listImages, pinImages } from "./images.ts";
export type { DigestResolver, PinnedFile, ServiceImage } from "./images.ts";
export { gatewayPorts, portsOf, portText } from "./ports.ts";
export type { GatewayPorts, PortRange, PublishedPort, ReachablePort, ServicePorts } from "./ports.ts";
export { COMPOSE_FILE_MAX_BYTES, projectName, readComposeFile } from "./read-compose-file.ts";
export type { ComposeEnvironment, ComposeFile, ComposeService } from "./read-compose-file.ts";
export { dockerFindings, findingText, isUnderstood, lintComposeFile } from "./lint-compose-file.ts";
export { lintEnvironment } from "./lint-environment.ts";
export { GIVEN_VARIABLES, lintManifest } from "./lint-manifest.ts";
export type { ManifestQuestion } from "./lint-manifest.ts";
export type { Finding, FindingCode, Severity } from "./finding.ts";
export { mayLeaveBehind } from "./may-leave-behind.ts";
export { powersOf } from "./powers.ts";
export type { PowerKind } from "./power-kind.ts";
export type { Power } from "./powers.ts";
