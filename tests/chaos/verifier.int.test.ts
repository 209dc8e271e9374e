import { verifier } from "./daemons/verifier.ts";
import { USUAL } from "./walk.ts";
import { walkTest } from "./walk-test.ts";

walkTest("the verifier", verifier, USUAL);
