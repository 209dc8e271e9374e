/** What the page shows of a VM's raw fields. */

/** Status as people read it: a running VM that has not finished booting is booting. */
export function shownStatus(vm) {
  if (vm.status !== "running") return vm.status;
  if (vm.shutdown_progress !== "" && vm.shutdown_progress !== "N/A") return "shutting down";
  return ["running", "done", "N/A"].includes(vm.boot_progress) ? "running" : "booting";
}

const TONES = {
  running: "good",
  booting: "busy",
  "shutting down": "busy",
  stopping: "busy",
  removing: "busy",
  exited: "danger",
  broken: "danger",
  stopped: "quiet",
};

/** Colour class of a status. */
export const tone = (vm) => (vm.boot_error === "" ? (TONES[shownStatus(vm)] ?? "quiet") : "danger");

/** One line on where the VM stands. */
export function subtitle(vm) {
  if (vm.boot_error !== "") return vm.boot_error;
  const status = shownStatus(vm);
  if (status === "booting") return vm.boot_progress;
  if (status === "shutting down") return vm.shutdown_progress;
  return status === "running" ? `up ${vm.uptime.split(" ").slice(0, 2).join(" ")}` : "";
}

/** Boot phases in order, each with its start, and how long it took where that is known. */
export function bootPhases(vm) {
  const phases = vm.events.filter(({ event }) => event === "boot.progress" || event === "boot.error");
  return phases.map(({ event, body, timestamp }, index) => ({
    text: body,
    failed: event === "boot.error",
    done: event === "boot.progress" && (body === "done" || index < phases.length - 1),
    at: timestamp,
    tookMs: phases[index + 1] === undefined ? undefined : phases[index + 1].timestamp - timestamp,
  }));
}

export const seconds = (ms) => (ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`);

export const clockTime = (ms) => new Date(ms).toLocaleTimeString();
