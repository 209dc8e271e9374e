import { authEth } from "./daemons/auth-eth.ts";
import { authSimple } from "./daemons/auth-simple.ts";
import { USUAL } from "./walk.ts";
import { walkTest } from "./walk-test.ts";

walkTest("auth-simple", authSimple, USUAL);
walkTest("auth-eth", authEth, USUAL);
