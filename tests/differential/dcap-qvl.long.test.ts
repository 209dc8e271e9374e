import { randomInt } from "node:crypto";
import { testAgreement } from "./agreement.ts";

// Other cases each time; one that fails says its seed.
testAgreement(randomInt(1, 1e9), 20);
