import { adviceBox } from "./advice.js";
import { rpc } from "./api.js";
import { closeDialog, openDialog, toast } from "./dialogs.js";
import { element, field } from "./element.js";

const EXAMPLE = "services:\n  web:\n    image: nginx:alpine\n    ports:\n      - 8080:80\n";
const PREVIEW_PAUSE_MS = 400;

/** The form that creates a VM. `onCreated` gets the new VM's id. */
export async function openDeployForm({ node, portMapping, onCreated }) {
  let images;
  try {
    ({ images } = await rpc("ListImages"));
  } catch (error) {
    toast(error.message, "danger");
    return;
  }
  const name = element("input", {
    name: "name",
    required: true,
    maxlength: "128",
    autocomplete: "off",
    autofocus: true,
  });
  const image = element(
    "select",
    { name: "image", required: true },
    images.map((entry) =>
      element("option", { value: entry.name }, `${entry.name}${entry.is_dev ? " (development)" : ""}`),
    ),
  );
  const vcpu = number("vcpu", 2, 1);
  const memory = number("memory", 2048, 512);
  const disk = number("disk", 10, 1);
  const tee = element(
    "select",
    { name: "tee" },
    [
      ...(node?.tee_simulator ? [["dstack-tdx", "Simulated Intel TDX (development)"]] : []),
      ["tdx", "Intel TDX"],
      ["none", "None"],
    ].map(([value, label]) => element("option", { value }, label)),
  );
  const keys = element(
    "select",
    { name: "keys" },
    [
      ["kms", "KMS"],
      ["none", "None: a new disk at every boot"],
    ].map(([value, label]) => element("option", { value }, label)),
  );
  const appId = element("input", {
    name: "appId",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "from the manifest",
    pattern: "(0x)?[0-9a-fA-F]{40}",
    title: "20 bytes of hex",
  });
  const compose = element("textarea", {
    name: "compose",
    rows: "9",
    required: true,
    spellcheck: "false",
    class: "code",
    placeholder: EXAMPLE,
  });
  const gateway = checkbox("gateway", true, "Reachable through the gateway");
  const publicLogs = checkbox("publicLogs", false, "Anybody may read container logs");
  const ports = element("div", { class: "ports" });
  const preview = element("output", { class: "faint preview" }, "The compose hash shows here.");
  const advice = adviceBox();
  const problem = element("p", { class: "banner danger", role: "alert", hidden: true });
  const submit = element("button", { class: "primary", type: "submit" }, "Deploy");

  const request = () => ({
    name: name.value.trim(),
    image: image.value,
    compose_file: composeText({
      name: name.value.trim(),
      yaml: compose.value,
      gateway: gateway.input.checked,
      publicLogs: publicLogs.input.checked,
      keys: keys.value,
    }),
    vcpu: Number(vcpu.value),
    memory: Number(memory.value),
    disk_size: Number(disk.value),
    ...(appId.value.trim() === "" ? {} : { app_id: appId.value.trim() }),
    ports: [...ports.querySelectorAll("fieldset")].map((row) => row.read()),
    ...(tee.value === "none" ? { no_tee: true } : tee.value === "tdx" ? {} : { simulated_tee: tee.value }),
  });

  let timer;
  const refreshPreview = () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      if (name.value.trim() === "" || compose.value.trim() === "") return;
      try {
        const wanted = request();
        const { hash } = await rpc("GetComposeHash", wanted);
        void advice.ask({ image: wanted.image, compose_file: wanted.compose_file, app_id: wanted.app_id });
        preview.className = "faint preview";
        preview.textContent = `Compose hash ${hash}, app id ${wanted.app_id ?? hash.slice(0, 40)}`;
      } catch (error) {
        advice.clear();
        preview.className = "preview wrong";
        preview.textContent = error.message;
      }
    }, PREVIEW_PAUSE_MS);
  };

  const file = element("input", {
    type: "file",
    accept: ".yaml,.yml,.json,text/*",
    "aria-label": "Load a compose file",
    onchange: async () => {
      const [picked] = file.files;
      if (picked === undefined) return;
      compose.value = await picked.text();
      refreshPreview();
    },
  });

  const form = element(
    "form",
    {
      class: "deploy",
      oninput: refreshPreview,
      onsubmit: async (event) => {
        event.preventDefault();
        problem.hidden = true;
        submit.disabled = true;
        submit.textContent = "Deploying…";
        try {
          const { id } = await rpc("CreateVm", request());
          closeDialog();
          toast(`${name.value.trim()} was created`);
          await onCreated(id);
        } catch (error) {
          problem.textContent = error.message;
          problem.hidden = false;
          problem.scrollIntoView({ block: "nearest" });
        } finally {
          submit.disabled = false;
          submit.textContent = "Deploy";
        }
      },
    },
    element("h2", {}, "Deploy an app"),
    element(
      "div",
      { class: "grid" },
      field("Name", name),
      field("Image", image),
      field("vCPUs", vcpu),
      field("Memory (MB)", memory),
      field("Disk (GB)", disk),
      field("TEE", tee),
      field("Keys from", keys),
      field("App id", appId, "such as its contract's address"),
    ),
    field("docker-compose.yaml", compose),
    element("div", { class: "row" }, file, gateway.node, publicLogs.node),
    portMapping
      ? element(
          "div",
          {},
          ports,
          element("button", { type: "button", onclick: () => ports.append(portRow()) }, "Add a port"),
        )
      : undefined,
    preview,
    advice.node,
    element(
      "p",
      { class: "faint" },
      "Secrets are encrypted for the app before they leave your desk: use the command line, dstack deploy -e NAME=VALUE.",
    ),
    problem,
    element("div", { class: "buttons" }, element("button", { type: "button", onclick: closeDialog }, "Cancel"), submit),
  );
  openDialog(form);
}

/** app-compose.json. Its bytes are measured: the order of members is part of the app's identity. */
function composeText({ name, yaml, gateway, publicLogs, keys }) {
  return JSON.stringify({
    manifest_version: 2,
    name,
    runner: "docker-compose",
    docker_compose_file: yaml,
    gateway_enabled: gateway,
    public_logs: publicLogs,
    public_sysinfo: true,
    public_tcbinfo: true,
    key_provider_id: "",
    allowed_envs: [],
    no_instance_id: !gateway,
    secure_time: false,
    key_provider: keys,
    ...(keys === "kms" ? { kms_enabled: true } : {}),
  });
}

function portRow() {
  const protocol = element(
    "select",
    { "aria-label": "Protocol" },
    ["tcp", "udp"].map((value) => element("option", { value }, value)),
  );
  const host = element("input", {
    type: "number",
    min: "1",
    max: "65535",
    required: true,
    placeholder: "host port",
    "aria-label": "Host port",
  });
  const guest = element("input", {
    type: "number",
    min: "1",
    max: "65535",
    required: true,
    placeholder: "VM port",
    "aria-label": "VM port",
  });
  const row = element(
    "fieldset",
    {},
    protocol,
    host,
    "→",
    guest,
    element(
      "button",
      { type: "button", class: "plain", "aria-label": "Remove this port", onclick: () => row.remove() },
      "×",
    ),
  );
  row.read = () => ({
    protocol: protocol.value,
    host_port: Number(host.value),
    vm_port: Number(guest.value),
    host_address: "",
  });
  return row;
}

const number = (name, value, min) =>
  element("input", { name, type: "number", min: String(min), step: "1", value: String(value), required: true });

function checkbox(name, checked, label) {
  const input = element("input", { name, type: "checkbox", checked });
  return { input, node: element("label", { class: "check" }, input, label) };
}
