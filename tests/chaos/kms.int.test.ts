import { kms } from "./daemons/kms.ts";
import { USUAL } from "./walk.ts";
import { walkTest } from "./walk-test.ts";

walkTest("the KMS", kms, USUAL);
