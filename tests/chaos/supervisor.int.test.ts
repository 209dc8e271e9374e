import { supervisor } from "./daemons/supervisor.ts";
import { USUAL } from "./walk.ts";
import { walkTest } from "./walk-test.ts";

walkTest("the supervisor", supervisor, USUAL);
