import { join } from "node:path";
import type { Daemon } from "../daemon.ts";
import { startProcess } from "../daemon-process.ts";
import { message } from "../wire-client.ts";
import { listenerOf } from "./listener-of.ts";
import { temporaryFolder } from "./temporary-folder.ts";

/** The supervisor, which its own user alone reaches; what it depends on are the processes that it starts. */
export async function supervisor(): Promise<Daemon> {
  const { folder, remove } = await temporaryFolder("supervisor");
  const process = await startProcess({
    main: "services/supervisor/src/main.ts",
    args: ["--uds", join(folder, "s.sock")],
    cwd: folder,
    listeners: 1,
  });
  let turn = 0;
  const deploy = (command: string) => () =>
    message("POST", "/deploy", JSON.stringify({ id: `p${turn++ % 3}`, command, args: ["0"] }));
  const listener = listenerOf(process.listeners[0], {
    name: "the socket",
    reach: "token",
    seeds: { "/deploy": deploy("sleep") },
    ends: ["/shutdown"],
    probe: message("GET", "/ping"),
  });
  const common = { place: listener.place, reach: "token", upstreams: [] } as const;
  return {
    name: "supervisor",
    process,
    listeners: [listener],
    deep: [
      { ...common, name: "a program that is not there", make: deploy("/no/such/program"), honest: /"error"|"data"/ },
    ],
    upstreams: [],
    close: remove,
  };
}
