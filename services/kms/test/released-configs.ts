/** kms.toml as released tools write it, from the facts of their formats. */

/** `build.sh hostcfg` of 0.5.5: a KMS on the host. */
export const HOST_SETUP_0_5_5 = (folder: string, address: string, port = 9043): string => `log_level = "info"

[rpc]
address = "${address}"
port = ${port}

[rpc.tls]
key = "${folder}/certs/rpc.key"
certs = "${folder}/certs/rpc.crt"

[rpc.tls.mutual]
ca_certs = "${folder}/certs/tmp-ca.crt"
mandatory = false

[core]
cert_dir = "${folder}/certs"

[core.gpu]
enabled = false

[core.auth_api]
type = "dev"

[core.onboard]
quote_enabled = false
address = "${address}"
port = ${port}
auto_bootstrap_domain = "kms.example.com"

[core.image]
verify = false
`;

/** The container of 0.5.6 behind auth-simple, in a VM; set up by hand. */
export const CONTAINER_0_5_6 = (folder: string, port: number): string => `[rpc]
address = "0.0.0.0"
port = ${port}

[rpc.tls]
key = "${folder}/certs/rpc.key"
certs = "${folder}/certs/rpc.crt"

[rpc.tls.mutual]
ca_certs = "${folder}/certs/tmp-ca.crt"
mandatory = false

[core]
cert_dir = "${folder}/certs"
admin_token_hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
pccs_url = "https://pccs.example"
subject_postfix = ".dstack"

[core.image]
verify = true
cache_dir = "${folder}/images"
download_url = "https://download.example/mr_{OS_IMAGE_HASH}.tar.gz"
download_timeout = "2m"

[core.auth_api]
type = "webhook"

[core.auth_api.webhook]
url = "http://10.0.2.2:3001"

[core.auth_api.dev]
gateway_app_id = "any"

[core.onboard]
enabled = true
auto_bootstrap_domain = ""
quote_enabled = true
address = "0.0.0.0"
port = ${port}
`;

/** The defaults that 0.6.0 ships, every table written out. */
export const DEFAULTS_0_6_0 = (folder: string): string => `[default]
workers = 8
max_blocking = 64
ident = "DStack KMS"
temp_dir = "/tmp"
keep_alive = 10
log_level = "info"

[rpc]
address = "0.0.0.0"
port = 8000

[rpc.tls]
key = "${folder}/certs/rpc.key"
certs = "${folder}/certs/rpc.crt"

[rpc.tls.mutual]
ca_certs = "${folder}/certs/tmp-ca.crt"
mandatory = false

[limits]
GetAppKey = "10MiB"
SignCert = "1 MiB"

[core]
cert_dir = "${folder}/certs"
subject_postfix = ".dstack"
site_name = "Site"
enforce_self_authorization = true
attest_rpc_cert = true
sev_snp_key_release = false
aws_nitro_tpm_key_release = false

[core.attestation]
insecure_allow_external_trust_anchors = false

[core.attestation.urls]
pccs = "https://pccs.phala.network"
amd_kds = "https://kdsintf.amd.com/vcek/v1"

[core.image]
verify = true
cache_dir = "${folder}/images"
download_url = "http://localhost:8000/{OS_IMAGE_HASH}.tar.gz"
download_timeout = "2m"

[core.metrics]
enabled = true

[core.admin]
enabled = false
address = "127.0.0.1"
port = 8001
auth_token = ""
htpasswd_file = ""
insecure_no_auth = false

[core.auth_api]
type = "webhook"

[core.auth_api.webhook]
url = "http://auth-api:8000"

[core.auth_api.dev]
gateway_app_id = "any"

[core.onboard]
enabled = true
auto_bootstrap_domain = ""
address = "0.0.0.0"
port = 8000
`;
