/**
 * What tests and benchmarks of the whole deployment use of the command line; nothing else is reached from outside.
 * In: a state folder and ports of their own, by `createCli`.
 * Out: the deployment's services started and stopped, apps deployed and waited for.
 * Never: something that only tests need; all of this is what the commands run.
 */
export { waitForAnswer, waitForBoot } from "./apps/apply/wait-for-app.ts";
export { allowVersion, changePolicyFile, localPolicy } from "./auth/policy-file.ts";
export { createCli, type Cli } from "./clients/cli.ts";
export { getThroughGateway } from "./clients/gateway-client.ts";
export { vmmMethods } from "./clients/vmm-client.ts";
export { appUrl } from "./local/app-url.ts";
export { DEVELOPMENT_DEVICE_ID } from "./local/development-device.ts";
export { ensureWildcardCertificate } from "./local/development-keys.ts";
export { DEFAULT_PORTS, type StackLayout } from "./local/layout.ts";
export {
  COMMAND_LINE,
  imageBuildFolder,
  qemuFolder,
  qemuProgram,
  registryProgram,
  REPOSITORY_ROOT,
} from "./local/places.ts";
export { cleanUp, stopEverything } from "./stack/cleanup.ts";
export { deployHello, HELLO_PORT } from "./stack/hello.ts";
export { publishHelloImage } from "./stack/hello-image.ts";
export { createServices, type Services } from "./stack/services.ts";
export { createProgram } from "./main.ts";
export { EXIT_CODES } from "./terminal/errors.ts";
