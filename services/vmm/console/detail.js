import { rpc } from "./api.js";
import { attempt, confirmAction } from "./dialogs.js";
import { actionButton, element } from "./element.js";
import { logView } from "./log-view.js";
import { bootPhases, clockTime, seconds, shownStatus, tone } from "./state.js";
import { canUpdate, openUpdateForm } from "./update.js";

/**
 * The right side: one VM in full. Parts are rebuilt only when what they show has changed, so that
 * a selection or a scroll position in the others survives the next look at the VMM.
 */
export function detailView(container, { onChange }) {
  let shown;
  let log;
  let parts = new Map();

  const part = (name, data, build) => {
    const key = JSON.stringify(data);
    const old = parts.get(name);
    if (old?.key === key) return;
    const node = build();
    node.dataset.part = name;
    if (old === undefined) container.append(node);
    else old.node.replaceWith(node);
    parts.set(name, { key, node });
  };

  const close = () => {
    log?.close();
    log = undefined;
    shown = undefined;
    parts = new Map();
    container.replaceChildren();
  };

  return {
    close,
    update: (vm) => {
      if (shown !== vm.id) {
        close();
        shown = vm.id;
      }
      const { configuration = null } = vm;
      part("head", [vm.name, shownStatus(vm), vm.app_url, tone(vm), configuration?.compose_file], () =>
        head(vm, onChange),
      );
      part("error", vm.boot_error, () => errorBanner(vm));
      part("boot", [vm.events, vm.boot_progress, shownStatus(vm)], () => boot(vm));
      part("facts", [vm.id, vm.app_id, vm.instance_id, configuration, vm.image_version, vm.interfaces], () =>
        facts(vm),
      );
      if (log === undefined) {
        log = logView(vm.id);
        container.append(log.node);
      }
      part("compose", configuration?.compose_file ?? "", () => compose(configuration?.compose_file ?? ""));
    },
  };
}

function head(vm, onChange) {
  const status = shownStatus(vm);
  const isUp = ["running", "booting", "shutting down", "stopping"].includes(status);
  const act = (what, method) => async () => {
    await attempt(what, () => rpc(method, { id: vm.id }));
    await onChange();
  };
  const ask = (question, next) => async () => {
    if (await confirmAction(question)) await next();
  };
  const remove = ask(
    {
      title: `Remove ${vm.name}?`,
      text: "The VM ends and its disk is deleted. Data on it is lost for good.",
      action: "Remove",
    },
    act(`${vm.name} is being removed`, "RemoveVm"),
  );
  const stop = ask(
    {
      title: `Stop ${vm.name}?`,
      text: "The VM is switched off at once, as by pulling its plug. Shut down asks the guest to end by itself.",
      action: "Stop",
    },
    act(`${vm.name} was stopped`, "StopVm"),
  );
  return element(
    "header",
    { class: "title" },
    element("div", {}, element("h2", {}, vm.name), element("span", { class: `badge ${tone(vm)}` }, status)),
    element(
      "div",
      { class: "buttons" },
      vm.app_url !== null && status === "running"
        ? element("a", { class: "button", href: vm.app_url, target: "_blank", rel: "noopener noreferrer" }, "Dashboard")
        : undefined,
      !isUp && status !== "removing" && status !== "broken"
        ? actionButton("Start", act(`${vm.name} is starting`, "StartVm"), { class: "primary", "data-action": "start" })
        : undefined,
      canUpdate(vm) && status !== "removing" && status !== "broken"
        ? element(
            "button",
            { type: "button", "data-action": "update", onclick: () => openUpdateForm(vm, { onUpdated: onChange }) },
            "Update",
          )
        : undefined,
      status === "running"
        ? actionButton("Shut down", act(`${vm.name} was asked to shut down`, "ShutdownVm"), {
            "data-action": "shutdown",
          })
        : undefined,
      isUp ? actionButton("Stop", stop, { "data-action": "stop" }) : undefined,
      status === "removing" ? undefined : actionButton("Remove", remove, { class: "danger", "data-action": "remove" }),
    ),
  );
}

function errorBanner(vm) {
  if (vm.boot_error === "") return element("div", { hidden: true });
  const title =
    vm.status === "broken"
      ? "This VM cannot be used"
      : vm.events.some(({ event }) => event === "boot.error")
        ? "The guest refused to boot"
        : "The VM is not up";
  return element(
    "div",
    { class: "banner danger", role: "alert" },
    element("b", {}, title),
    element("p", {}, vm.boot_error),
  );
}

function boot(vm) {
  const phases = bootPhases(vm);
  const others = vm.events.filter(({ event }) => !event.startsWith("boot.") && event !== "instance.info");
  const rows = phases.map((phase, index) => {
    const isCurrent = !phase.done && !phase.failed && shownStatus(vm) === "booting" && index === phases.length - 1;
    return element(
      "li",
      { class: phase.failed ? "failed" : phase.done ? "done" : isCurrent ? "current" : "" },
      element("span", {}, phase.text === "done" ? "booted" : phase.text),
      element("time", { class: "faint" }, phase.tookMs === undefined ? clockTime(phase.at) : seconds(phase.tookMs)),
    );
  });
  const waiting =
    rows.length === 0
      ? element(
          "p",
          { class: "faint" },
          shownStatus(vm) === "booting" ? "Firmware and kernel are starting…" : "No events since the VMM started.",
        )
      : undefined;
  return element(
    "section",
    { class: "card" },
    element("h3", {}, "Boot"),
    waiting,
    element("ol", { class: "phases" }, rows),
    others.length === 0
      ? undefined
      : element(
          "ul",
          { class: "events" },
          others.map(({ event, body, timestamp }) =>
            element(
              "li",
              {},
              element("time", { class: "faint" }, clockTime(timestamp)),
              element("code", {}, event),
              element("span", {}, body),
            ),
          ),
        ),
  );
}

function facts(vm) {
  const c = vm.configuration;
  const rows = [
    ["App id", copyable(vm.app_id)],
    [
      "Instance id",
      vm.instance_id === null
        ? element("span", { class: "faint" }, "given at the first boot")
        : copyable(vm.instance_id),
    ],
    ["VM id", copyable(vm.id)],
    ...(c === null
      ? []
      : [
          ["Image", `${c.image}${vm.image_version === "" ? "" : ` (${vm.image_version})`}`],
          ["Size", `${c.vcpu} vCPU, ${c.memory} MB memory, ${c.disk_size} GB disk`],
          ["TEE", c.simulated_tee === null ? (c.no_tee ? "none" : "Intel TDX") : `${c.simulated_tee}, simulated`],
          [
            "Ports",
            c.ports.length === 0
              ? element("span", { class: "faint" }, "none")
              : element(
                  "ul",
                  { class: "plain" },
                  c.ports.map((port) =>
                    element("li", {}, `${port.protocol} ${port.host_address}:${port.host_port} → ${port.vm_port}`),
                  ),
                ),
          ],
          ["Secrets", c.encrypted_env === "" ? "none" : `${c.encrypted_env.length / 2} bytes, encrypted`],
        ]),
    [
      "Network",
      element(
        "ul",
        { class: "plain" },
        vm.interfaces.map((nic) =>
          element("li", {}, `${nic.mode}${nic.bridge_name === null ? "" : ` ${nic.bridge_name}`}, ${nic.mac}`),
        ),
      ),
    ],
  ];
  return element(
    "section",
    { class: "card" },
    element("h3", {}, "Machine"),
    element(
      "dl",
      {},
      rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    ),
  );
}

function compose(text) {
  return element(
    "details",
    { class: "card" },
    element("summary", {}, "App compose"),
    element("pre", { class: "log" }, pretty(text)),
  );
}

/** For reading only: what is measured are the bytes as they were sent. */
function pretty(text) {
  try {
    const { docker_compose_file: yaml, ...rest } = JSON.parse(text);
    return `${JSON.stringify(rest, null, 2)}${typeof yaml === "string" ? `\n\n# docker_compose_file\n${yaml}` : ""}`;
  } catch {
    return text;
  }
}

function copyable(text) {
  return element(
    "span",
    { class: "copy" },
    element("code", {}, text),
    text === ""
      ? undefined
      : actionButton("Copy", () => attempt("Copied", () => navigator.clipboard.writeText(text)), { class: "plain" }),
  );
}
