import { rpc } from "./api.js";
import { openDeployForm } from "./deploy.js";
import { detailView } from "./detail.js";
import { element } from "./element.js";
import { shownStatus, subtitle, tone } from "./state.js";

const POLL_MS = 2_000;

const byId = (id) => document.getElementById(id);
const detail = detailView(byId("detail"), { onChange: () => look() });
let status = { vms: [], total: 0, port_mapping_enabled: false, node: undefined };
let selected = decodeURIComponent(location.hash.slice(1)) || undefined;
let looking;

/** Asks the VMM for everything the page shows. One look at a time; a second caller waits for the first. */
function look() {
  looking ??= lookNow().finally(() => {
    looking = undefined;
  });
  return looking;
}

async function lookNow() {
  try {
    status = await rpc("Status", { brief: true, keyword: byId("search").value.trim() });
    showList();
    await showDetail();
    byId("offline").hidden = true;
  } catch (error) {
    byId("offline").textContent = `The VMM cannot be reached: ${error.message}. VMs go on without it; trying again.`;
    byId("offline").hidden = false;
  }
}

function showList() {
  byId("total").textContent = `${status.total} ${status.total === 1 ? "VM" : "VMs"}`;
  byId("empty").hidden = status.vms.length > 0;
  const { node } = status;
  byId("node").textContent = node === undefined ? "" : `QEMU ${node.qemu_version} · ${node.accelerator}`;
  byId("node").title = node?.accelerator_reason ?? "";
  const focused = document.activeElement?.dataset?.vm;
  byId("vms").replaceChildren(...status.vms.map(listEntry));
  if (focused !== undefined) document.querySelector(`[data-vm="${CSS.escape(focused)}"]`)?.focus();
}

function listEntry(vm) {
  return element(
    "li",
    {},
    element(
      "button",
      {
        type: "button",
        class: "vm",
        "data-vm": vm.id,
        "data-status": shownStatus(vm),
        "aria-current": vm.id === selected ? "true" : undefined,
        onclick: () => select(vm.id),
      },
      element("span", { class: `dot ${tone(vm)}`, "aria-hidden": "true" }),
      element("span", { class: "name" }, vm.name),
      element("span", { class: `badge ${tone(vm)}` }, shownStatus(vm)),
      element("span", { class: "sub faint" }, subtitle(vm)),
    ),
  );
}

async function showDetail() {
  selected ??= status.vms[0]?.id;
  const { found, info } = selected === undefined ? { found: false } : await rpc("GetInfo", { id: selected });
  if (found) detail.update(info);
  else {
    detail.close();
    if (selected !== undefined) {
      selected = undefined;
      history.replaceState(null, "", location.pathname);
    }
  }
}

async function select(id) {
  selected = id;
  history.replaceState(null, "", `#${encodeURIComponent(id)}`);
  await looking;
  await look();
}

byId("deploy").addEventListener(
  "click",
  () => void openDeployForm({ node: status.node, portMapping: status.port_mapping_enabled, onCreated: select }),
);
byId("search").addEventListener("input", () => void look());

async function keepLooking() {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

rpc("Version").then(
  ({ version }) => {
    byId("version").textContent = `v${version}`;
  },
  () => undefined,
);
void keepLooking();
