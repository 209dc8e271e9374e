import { gateway } from "./daemons/gateway.ts";
import { USUAL } from "./walk.ts";
import { walkTest } from "./walk-test.ts";

walkTest("the gateway", gateway, USUAL);
