/** Opens the device named on the command line and waits to be killed. */
import { openWireGuard, parseNetwork } from "../src/index.ts";

await openWireGuard({ name: process.argv[2] ?? "", address: parseNetwork("10.213.0.1/24") });
process.stdout.write("open\n");
setInterval(() => undefined, 60_000);
