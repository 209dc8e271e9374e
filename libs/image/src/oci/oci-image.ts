/**
 * A single-layer OCI image held in memory (OCI image specification 1.1: manifest and
 * configuration as JSON, layer as gzip tar). No time and no host enters it.
 */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";

export interface OciImageOptions {
  /** Uncompressed tar. */
  readonly layer: Uint8Array;
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly workingDir?: string;
  readonly exposedPorts?: readonly number[];
  readonly volumes?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
}

export interface OciBlob {
  /** `sha256:` and 64 hex digits. */
  readonly digest: string;
  readonly bytes: Uint8Array;
}

export interface OciImage {
  readonly manifest: OciBlob;
  readonly blobs: readonly OciBlob[];
  /** Digest of the manifest: what a compose file pins. */
  readonly digest: string;
}

export const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip";

export function makeOciImage(options: OciImageOptions): OciImage {
  const layer = blob(gzipSync(options.layer, { level: 9 }));
  const config = blob(
    json({
      architecture: "amd64",
      config: {
        ...(options.entrypoint === undefined ? {} : { Entrypoint: options.entrypoint }),
        ...(options.command === undefined ? {} : { Cmd: options.command }),
        Env: Object.entries({ PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...options.env }).map(
          ([name, value]) => `${name}=${value}`,
        ),
        ...(options.workingDir === undefined ? {} : { WorkingDir: options.workingDir }),
        ...(options.exposedPorts === undefined
          ? {}
          : { ExposedPorts: Object.fromEntries(options.exposedPorts.map((port) => [`${port}/tcp`, {}])) }),
        ...(options.volumes === undefined
          ? {}
          : { Volumes: Object.fromEntries(options.volumes.map((path) => [path, {}])) }),
        ...(options.labels === undefined ? {} : { Labels: options.labels }),
      },
      created: "1970-01-01T00:00:00Z",
      history: [{ created: "1970-01-01T00:00:00Z" }],
      os: "linux",
      rootfs: { type: "layers", diff_ids: [digestOf(options.layer)] },
    }),
  );
  const manifest = blob(
    json({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: descriptor(CONFIG_TYPE, config),
      layers: [descriptor(LAYER_TYPE, layer)],
    }),
  );
  return { manifest, blobs: [config, layer], digest: manifest.digest };
}

function descriptor(
  mediaType: string,
  { digest, bytes }: OciBlob,
): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest, size: bytes.length };
}

function blob(bytes: Uint8Array): OciBlob {
  return { digest: digestOf(bytes), bytes };
}

const digestOf = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
