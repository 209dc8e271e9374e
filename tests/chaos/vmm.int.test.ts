import { vmm } from "./daemons/vmm.ts";
import { USUAL } from "./walk.ts";
import { walkTest } from "./walk-test.ts";

walkTest("the VMM", vmm, USUAL);
