/**
 * Stands in for QEMU at the wire: takes its command line, listens on the channel's socket and
 * speaks as a guest. What the guest does comes from the VM's user configuration.
 */
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { createLogger } from "@dstack/log";
import { createVmChannel } from "@dstack/vm-channel";

const args = process.argv.slice(2);
if (args[0] === "--version") {
  process.stdout.write("QEMU emulator version 10.0.2 (fake)\n");
  process.exit(0);
}
const serial = (line: string): void => appendFileSync("serial.log", `${line}\n`);
const configPath = "shared/.user-config";
const mode = existsSync(configPath) ? (JSON.parse(readFileSync(configPath, "utf8")) as { mode?: string }).mode : "boot";
if (mode === "crash") {
  process.stderr.write("qemu-system-x86_64: could not set up host forwarding rule\n");
  process.exit(1);
}
const value = (name: string): string => args[args.indexOf(name) + 1] ?? "";
const socketPath = args
  .map((arg) => /^socket,id=host0,path=([^,]+),server=on/.exec(arg)?.[1])
  .find((path) => path !== undefined);
if (socketPath === undefined || value("-m") === "") throw new Error("no channel on the command line");
serial("\x1b[32mLinux version 6.18.0-fake\x1b[0m");
let guestUp = false;
createServer((socket) => {
  const channel = createVmChannel(socket, {
    log: createLogger({ name: "fake-guest", level: "error" }),
    handle: async (path) => {
      if (path === "/api/NetworkInfo")
        return { status: 200, json: { dns_servers: ["10.0.2.3"], gateways: [], interfaces: [], wg_info: "" } };
      if (path === "/api/Shutdown") {
        setTimeout(
          () =>
            void channel
              .request("/api/Notify", { event: "shutdown.progress", payload: "powering off" })
              .then(() => process.exit(0)),
          10,
        );
        return { status: 200, json: null };
      }
      return { status: 400, json: { error: `Service not found: ${path}` } };
    },
  });
  if (guestUp) return;
  guestUp = true;
  void (async () => {
    const notify = (event: string, payload: string): Promise<unknown> =>
      channel.request("/api/Notify", { event, payload });
    for (const phase of ["initializing data disk", "requesting app keys"]) {
      serial(phase);
      await notify("boot.progress", phase);
    }
    if (mode === "refuse") {
      await notify("boot.error", "KMS refused: <b>compose hash</b> is not allowed");
      process.exit(0);
    }
    await notify(
      "instance.info",
      JSON.stringify({ instance_id_seed: "33".repeat(20), instance_id: "22".repeat(20), app_id: "11".repeat(20) }),
    );
    if (mode === "no-route") await notify("boot.error", "no gateway answers");
    await notify("boot.progress", "done");
    if (mode === "no-route") await notify("boot.error", "");
    serial("[  OK  ] Finished App Compose Service.");
  })();
}).listen(socketPath);
setInterval(() => undefined, 60_000);
