/** TCP port at which the agent of every guest answers anybody: an app cannot publish it. */
export const AGENT_PORT = 8090;
