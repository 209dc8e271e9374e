import { agent } from "./daemons/agent.ts";
import { USUAL } from "./walk.ts";
import { walkTest } from "./walk-test.ts";

walkTest("the agent", agent, USUAL);
