/** docker-compose.yaml as docker compose of the guest image reads it: one reader, many questions. */
export { parseImageReference, isPinnedImage } from "./image-reference.ts";
export type { ImageReference } from "./image-reference.ts";
export { listImages, pinImages } from "./images.ts";
export type { DigestResolver, PinnedFile, ServiceImage } from "./images.ts";
export { gatewayPorts, portsOf, portText } from "./ports.ts";
export type { GatewayPorts, PortRange, PublishedPort, ReachablePort, ServicePorts } from "./ports.ts";
export { COMPOSE_FILE_MAX_BYTES, projectName, readComposeFile } from "./read-compose-file.ts";
export type { ComposeEnvironment, ComposeFile, ComposeService } from "./read-compose-file.ts";
