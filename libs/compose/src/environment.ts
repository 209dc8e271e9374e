/** The decrypted environment of an app: what may enter it, and its two file forms. */
import { utf8, utf8Decode } from "@dstack/bytes";
import { ComposeError } from "./errors.ts";
import { fieldsOf } from "./manifest/fields.ts";
import { parseStrictJson } from "./manifest/strict-json.ts";

/** Most bytes of `.encrypted-env` that a guest copies from its host share. */
export const ENCRYPTED_ENV_MAX_BYTES = 262_144;

const MAX_PAIRS = 1024;
const MAX_KEY_BYTES = 255;
const MAX_VALUE_BYTES = 131_072;
const MAX_TOTAL_BYTES = 1_048_576;

/** A variable name that a shell accepts. */
export const isEnvName = (name: string): boolean => /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name);

/**
 * Names that change how the guest's own programs run rather than what the app sees: an allow-list
 * with one of these lets whoever encrypts the environment run code (audit row 0d).
 */
export function isDangerousEnvName(name: string): boolean {
  // Credentials of registries, which manifests made for the reference's guests carry.
  if (HARMLESS_PREFIXES.some((prefix) => name.startsWith(prefix))) return false;
  return DANGEROUS.has(name) || DANGEROUS_PREFIXES.some((prefix) => name.startsWith(prefix));
}

const DANGEROUS: ReadonlySet<string> = new Set([
  "PATH",
  "HOME",
  "IFS",
  "ENV",
  "SHELL",
  "SHELLOPTS",
  "BASHOPTS",
  "PS4",
  "PROMPT_COMMAND",
  "NODE_OPTIONS",
  "NODE_PATH",
  "NODE_EXTRA_CA_CERTS",
  "PYTHONPATH",
  "PYTHONSTARTUP",
  "PERL5OPT",
  "PERL5LIB",
  "RUBYOPT",
  "GCONV_PATH",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "OPENSSL_CONF",
]);
const DANGEROUS_PREFIXES: readonly string[] = [
  "LD_",
  "BASH_",
  "DOCKER_",
  "COMPOSE_",
  "DSTACK_",
  "DCAP_",
  "BUILDKIT_",
  "GLIBC_",
];

const HARMLESS_PREFIXES: readonly string[] = ["DSTACK_DOCKER_", "DSTACK_AWS_"];

export interface SelectedEnvironment {
  /** Sorted by name. */
  readonly variables: ReadonlyMap<string, string>;
  /** Names that were sent and are not on the allow-list, in order. */
  readonly skipped: readonly string[];
}

/**
 * Reads the decrypted plaintext `{"env":[{"key":K,"value":V},...]}` and keeps what the manifest
 * allows. A later pair of one name replaces an earlier one.
 * @throws ComposeError `json-invalid`, `manifest-invalid`, `env-invalid`
 */
export function selectEnvironment(plaintext: Uint8Array, allowed: readonly string[]): SelectedEnvironment {
  const root = fieldsOf(parseStrictJson(decode(plaintext)), "environment");
  const pairs = root.objects("env");
  if (root.raw("env") === undefined) throw new ComposeError("manifest-invalid", "missing field `environment.env`");
  if (pairs.length > MAX_PAIRS)
    throw new ComposeError("env-invalid", `Too many environment variables: ${pairs.length}, at most ${MAX_PAIRS}`);
  const variables = new Map<string, string>();
  const skipped: string[] = [];
  let total = 0;
  for (const pair of pairs) {
    const key = pair.text("key");
    const value = pair.text("value");
    if (!allowed.includes(key)) {
      skipped.push(key);
      continue;
    }
    checkPair(key, value);
    total += utf8(key).length + utf8(value).length;
    if (total > MAX_TOTAL_BYTES)
      throw new ComposeError("env-invalid", `environment variables exceed ${MAX_TOTAL_BYTES} bytes in all`);
    variables.set(key, value);
  }
  return { variables: new Map([...variables].toSorted(([a], [b]) => (a < b ? -1 : 1))), skipped };
}

/**
 * `KEY=VALUE` lines that a POSIX shell, systemd's EnvironmentFile and compose read back as the
 * exact values. Values without backslash and newline render as every released guest renders them.
 */
export function renderEnvironment(variables: ReadonlyMap<string, string>): string {
  return [...variables].map(([key, value]) => `${key}=${renderValue(value)}\n`).join("");
}

/** The same as a compact JSON object: the exact strings, whatever they contain. */
export const renderEnvironmentJson = (variables: ReadonlyMap<string, string>): string =>
  // Not Object.fromEntries alone: integer-like names cannot occur, since a name starts with a letter or `_`.
  JSON.stringify(Object.fromEntries(variables));

export function renderValue(value: string): string {
  if (!/[ \t|&;<>()$`\\"'\n]/.test(value)) return value;
  return `"${value.replace(/[\\"$`]/g, String.raw`\$&`)}"`;
}

function checkPair(key: string, value: string): void {
  if (utf8(key).length > MAX_KEY_BYTES)
    throw new ComposeError(
      "env-invalid",
      `environment variable name exceeds ${MAX_KEY_BYTES} bytes: ${key.slice(0, 40)}...`,
    );
  if (!isEnvName(key))
    throw new ComposeError(
      "env-invalid",
      `environment variable name ${JSON.stringify(key)}: expected letters, digits and _, not starting with a digit`,
    );
  if (utf8(value).length > MAX_VALUE_BYTES)
    throw new ComposeError("env-invalid", `environment variable ${key}: value exceeds ${MAX_VALUE_BYTES} bytes`);
  if (value.includes("\0"))
    throw new ComposeError(
      "env-invalid",
      `environment variable ${key}: value contains a NUL byte, which no process environment can carry`,
    );
}

function decode(plaintext: Uint8Array): string {
  try {
    return utf8Decode(plaintext, "environment");
  } catch (cause) {
    throw new ComposeError("json-invalid", "environment is not valid UTF-8", { cause });
  }
}
