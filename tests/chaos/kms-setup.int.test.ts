import { kmsSetUp } from "./daemons/kms-setup.ts";
import { USUAL } from "./walk.ts";
import { walkTest } from "./walk-test.ts";

walkTest("the KMS without keys", kmsSetUp, USUAL);
