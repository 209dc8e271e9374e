/** The set-up page: what this machine is, bootstrap or onboard, result, finish. */

const part = (id) => document.getElementById(id);
const hex = (text) => (text ? `0x${text}` : "");
let token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
// A link with the token must not stay in the address bar.
if (token !== "") history.replaceState(null, "", location.pathname);

const LABELS = [
  ["tee_variant", "TEE", (value) => value],
  ["ppid", "PPID", (value) => value],
  ["device_id", "Device id", hex],
  ["mr_aggregated", "Aggregated measurement", hex],
  ["os_image_hash", "OS image hash", hex],
  ["kms_contract_address", "KMS contract", (value) => value],
  ["eth_rpc_url", "Chain RPC", (value) => value],
];

part("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = new FormData(event.target).get("token").trim();
  open();
});
onSubmit("bootstrap-form", async (form) => show(await rpc("Bootstrap", { domain: form.get("domain").trim() })));
onSubmit("onboard-form", async (form) => {
  const source = form.get("source").trim().replace(/\/+$/, "");
  await rpc("Onboard", {
    source_url: source.endsWith("/prpc") ? source : `${source}/prpc`,
    domain: form.get("domain").trim(),
  });
  show((await state()).bootstrap_info);
});
part("finish").addEventListener("click", (event) => {
  busy(event.target, async () => {
    await call("/finish");
    for (const id of ["evidence-card", "result-card", "failure"]) part(id).hidden = true;
    part("finished").hidden = false;
  });
});
part("copy").addEventListener("click", (event) => {
  busy(event.target, async () => {
    // Browsers give it to pages with TLS, and to those of their own machine.
    if (navigator.clipboard === undefined)
      throw new Error("this browser lets no page without TLS copy: select the text");
    await navigator.clipboard.writeText(part("result").textContent);
  });
});

function open() {
  busy(part("token-form").querySelector("button"), async () => {
    const { keys, bootstrap_info: info } = await state();
    part("token-card").hidden = true;
    part("evidence-card").hidden = false;
    if (keys) show(info);
    else part("choices").hidden = false;
    await showEvidence();
  });
}

async function showEvidence() {
  try {
    const info = await rpc("GetAttestationInfo", {});
    for (const [key, label, print] of LABELS) {
      if (!info[key]) continue;
      part("evidence").append(textElement("dt", label), textElement("dd", print(info[key])));
    }
    part("evidence-note").textContent = "Allow these values where keys are released, then go on.";
  } catch (error) {
    part("evidence-note").textContent = `No evidence of this machine: ${error.message}`;
  }
}

function show(info) {
  const values = {
    caPubkey: hex(info.ca_pubkey),
    k256Pubkey: hex(info.k256_pubkey),
    quote: hex(info.quote),
    eventlog: hex(info.eventlog),
    attestation: hex(info.attestation),
  };
  part("result").textContent = JSON.stringify(values, null, 2);
  part("choices").hidden = true;
  part("result-card").hidden = false;
}

const state = async () => JSON.parse(await call("/state"));
const rpc = async (method, body) =>
  JSON.parse(
    await call(`/prpc/Onboard.${method}?json`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    }),
  );

/** The answer's text. Throws an Error with the KMS's own words. */
async function call(path, options = {}) {
  const headers = token === "" ? options.headers : { ...options.headers, authorization: `Bearer ${token}` };
  const response = await fetch(path, { ...options, ...(headers === undefined ? {} : { headers }) });
  const text = await response.text();
  if (response.ok) return text;
  if (response.status === 401) part("token-card").hidden = false;
  throw new Error(errorText(text) || `the KMS answered with status ${response.status}`);
}

function errorText(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return text.trim();
  }
}

function onSubmit(id, run) {
  part(id).addEventListener("submit", (event) => {
    event.preventDefault();
    busy(event.target.querySelector("button"), () => run(new FormData(event.target)));
  });
}

/** Runs once at a time; what goes wrong is told, as text. */
function busy(button, run) {
  part("failure").hidden = true;
  button.disabled = true;
  run()
    .catch((error) => {
      part("failure").textContent = error.message;
      part("failure").hidden = false;
    })
    .finally(() => {
      button.disabled = false;
    });
}

function textElement(tag, text) {
  const node = document.createElement(tag);
  node.textContent = text;
  return node;
}

if (document.body.dataset.token === "required" && token === "") part("token-card").hidden = false;
else open();
