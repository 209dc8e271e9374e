/**
 * A simulated TEE and its development root of trust. For tests and the simulator's own processes:
 * no production code imports this package.
 */
export { SimulatorError } from "./errors.ts";
export type { SimulatorErrorCode } from "./errors.ts";
export { mockKey, parseSeed } from "./mock-key.ts";
export type { MockKeyLabel, MockSeed } from "./mock-key.ts";
export { mockPki, mockPlatform } from "./mock-pki.ts";
export type { MockPki, MockPlatform } from "./mock-pki.ts";
export { signMockEnclaveQuote, signMockQuote } from "./mock-quote.ts";
export type { TdMeasurements } from "./mock-quote.ts";
export { mockCollateral } from "./mock-collateral.ts";
export { startMockPccs } from "./mock-pccs.ts";
export type { MockEdition } from "./mock-collateral.ts";
export type { MockEditionName, MockPccsOptions } from "./mock-pccs.ts";
export { answerQuote, SOFTWARE_ENCLAVE, startSoftwareKeyProvider } from "./software-key-provider.ts";
export type { SoftwareKeyProvider } from "./software-key-provider.ts";
