/** The configuration files of the local deployment's services, as text; pure. */
import type { ChosenWebhook } from "../local/auth-webhook.ts";
import { kmsImageFolder } from "../local/places.ts";
import { AGENT_PORT } from "@dstack/proto/wire";
import { BASE_DOMAIN, HOST_AS_SEEN_BY_GUEST, type StackLayout } from "../local/layout.ts";

// A JSON string is a valid TOML basic string.
const q = (text: string): string => JSON.stringify(text);

/** Keys that the KMS and the VMM have in common. */
const knownBy = ({ tokenFile, answerKey }: ChosenWebhook): string =>
  [
    ...(tokenFile === undefined ? [] : [`bearer_token_file = ${q(tokenFile)}\n`]),
    ...(answerKey === undefined ? [] : [`answer_keys = [${q(answerKey)}]\n`]),
  ].join("");

/** Verified quotes, compared measurements, an asked webhook; only the root of trust is a development one. */
export function kmsToml(layout: StackLayout, webhook: ChosenWebhook): string {
  const { ports, kmsCerts } = layout;
  return `# Written by \`dstack up\` at every start.
[rpc]
address = "127.0.0.1"
port = ${ports.kms}

[rpc.tls]
key = ${q(`${kmsCerts}/rpc.key`)}
certs = ${q(`${kmsCerts}/rpc.crt`)}

[rpc.tls.mutual]
ca_certs = ${q(`${kmsCerts}/tmp-ca.crt`)}
mandatory = false

[core]
cert_dir = ${q(kmsCerts)}
audit_log = ${q(`${layout.kmsFolder}/audit.log`)}
# The KMS of the local deployment runs outside a TEE: it has no evidence of its own to show.
enforce_self_authorization = false
attest_rpc_cert = false

[core.attestation]
insecure_allow_external_trust_anchors = true

[core.attestation.urls]
pccs = "http://127.0.0.1:${ports.pccs}"

[core.attestation.root_ca]
tdx = ${q(layout.teeRoot)}

[core.image]
verify = true
cache_dir = ${q(kmsImageFolder(layout))}
download_url = "http://127.0.0.1:${ports.vmm}/os-images/mr_{OS_IMAGE_HASH}.tar.gz"
download_timeout = "2m"

[core.auth_api]
type = "webhook"

[core.auth_api.webhook]
url = ${q(webhook.url)}
${knownBy(webhook)}
[core.onboard]
enabled = true
auto_bootstrap_domain = ${q(HOST_AS_SEEN_BY_GUEST)}
address = "127.0.0.1"
port = ${ports.kms}

[core.metrics]
enabled = true
`;
}

export interface GatewaySecrets {
  readonly wireguardPrivateKey: string;
  readonly wireguardPublicKey: string;
  readonly adminToken: string;
}

/** Name and network follow the port, so that two local deployments on one host do not meet. */
export function tunnelOf(layout: StackLayout): { readonly device: string; readonly network: string } {
  const { wireguard } = layout.ports;
  return {
    device: `dstack-gw${wireguard}`,
    network: `10.${wireguard === 9305 ? 44 : 45 + (Math.floor(wireguard / 100) % 200)}`,
  };
}

export function gatewayToml(layout: StackLayout, secrets: GatewaySecrets): string {
  const { ports, gatewayFolder, gatewayCerts, caFolder } = layout;
  const { device, network } = tunnelOf(layout);
  return `# Written by \`dstack up\` at every start.
address = "127.0.0.1:${ports.gatewayRpc}"

[tls]
key = ${q(`${gatewayCerts}/rpc.key`)}
certs = ${q(`${gatewayCerts}/rpc.crt`)}

[tls.mutual]
ca_certs = ${q(layout.kmsRootCa)}
mandatory = false

[core]
rpc_domain = ${q(HOST_AS_SEEN_BY_GUEST)}

[core.debug]
# The gateway of the local deployment runs outside a TEE: it has no evidence of its own to show.
insecure_skip_attestation = true

[core.admin]
enabled = true
address = "127.0.0.1:${ports.gatewayAdmin}"
auth_token = ${q(secrets.adminToken)}

[core.attestation]
insecure_allow_external_trust_anchors = true

[core.attestation.urls]
pccs = "http://127.0.0.1:${ports.pccs}"

[core.attestation.root_ca]
tdx = ${q(layout.teeRoot)}

[core.wg]
private_key = ${q(secrets.wireguardPrivateKey)}
public_key = ${q(secrets.wireguardPublicKey)}
listen_port = ${ports.wireguard}
interface = "${device}"
ip = "${network}.0.1/16"
reserved_net = ["${network}.0.1/32"]
client_ip_range = "${network}.0.0/18"
endpoint = "${HOST_AS_SEEN_BY_GUEST}:${ports.wireguard}"
config_path = ${q(`${gatewayFolder}/wireguard.conf`)}

[core.proxy]
listen_addr = "127.0.0.1"
listen_port = ${ports.proxy}
external_port = ${ports.proxy}
base_domain = "${BASE_DOMAIN}"
cert_chain = ${q(`${caFolder}/wildcard.crt`)}
cert_key = ${q(`${caFolder}/wildcard.key`)}
agent_port = ${AGENT_PORT}
tls_versions = ["1.2", "1.3"]

[core.sync]
data_dir = ${q(`${gatewayFolder}/data`)}
`;
}

export interface VmmSettings {
  readonly qemuPath: string;
  readonly teeSeedHex: string;
  readonly token: string;
  /** Whom the KMS asks, so that the console can ask before a deployment. */
  readonly webhook: ChosenWebhook;
  /** Hex. */
  readonly deviceId: string;
}

export function vmmToml(layout: StackLayout, settings: VmmSettings): string {
  const { ports, vmmFolder } = layout;
  return `# Written by \`dstack up\` at every start.
address = "127.0.0.1"
port = ${ports.vmm}
kms_url = "https://127.0.0.1:${ports.kms}"
node_name = "local"
run_path = ${q(`${vmmFolder}/vm`)}
image_path = ${q(layout.images)}

[cvm]
qemu_path = ${q(settings.qemuPath)}
kms_urls = ["https://${HOST_AS_SEEN_BY_GUEST}:${ports.kms}"]
gateway_urls = ["https://${HOST_AS_SEEN_BY_GUEST}:${ports.gatewayRpc}"]
pccs_url = "http://${HOST_AS_SEEN_BY_GUEST}:${ports.pccs}"
docker_registry = "http://${HOST_AS_SEEN_BY_GUEST}:${ports.registry}"

[cvm.tee_simulator]
platform = "dstack-tdx"
mock_attestation_seed = ${q(settings.teeSeedHex)}
collateral_base_url = "http://${HOST_AS_SEEN_BY_GUEST}:${ports.pccs}"

[cvm.networking]
mode = "user"
net = "10.0.2.0/24"
dhcp_start = "10.0.2.10"
restrict = false

[cvm.port_mapping]
enabled = true
address = "127.0.0.1"
range = [{ protocol = "tcp", from = 1024, to = 65535 }, { protocol = "udp", from = 1024, to = 65535 }]

[gateway]
base_domain = "${BASE_DOMAIN}"
port = ${ports.proxy}
agent_port = ${AGENT_PORT}

[auth]
enabled = true
tokens = [${q(settings.token)}]

[auth_webhook]
url = ${q(settings.webhook.url)}
${knownBy(settings.webhook)}device_id = ${q(settings.deviceId)}

[attestation]
insecure_allow_external_trust_anchors = true

[attestation.urls]
pccs = "http://127.0.0.1:${ports.pccs}"

[attestation.root_ca]
tdx = ${q(layout.teeRoot)}

[supervisor]
sock = ${q(`${vmmFolder}/supervisor.sock`)}
pid_file = ${q(`${vmmFolder}/supervisor.pid`)}
log_file = ${q(`${layout.logs}/supervisor.log`)}
detached = true
auto_start = true

[key_provider]
enabled = true
address = "127.0.0.1"
port = ${ports.keyProvider}
`;
}

/** docker-registry of Debian: one folder, loopback, no telemetry. */
export function registryYaml(layout: StackLayout): string {
  return `version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: ${q(layout.registryFolder)}
  delete:
    enabled: false
http:
  addr: 127.0.0.1:${layout.ports.registry}
`;
}
