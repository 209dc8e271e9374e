import { z } from "zod";
import { networkingSchema } from "../config/config-schema.ts";
import { VmmError } from "../errors.ts";

const u16 = z.number().int().min(0).max(65_535);
const u32 = z.number().int().min(0).max(0xffff_ffff);
const portMapSchema = z.object({ address: z.string(), protocol: z.enum(["tcp", "udp"]), from: u16, to: u16 });

const manifestSchema = z.object({
  id: z.string(),
  name: z.string(),
  /** Lower-case hex without 0x. */
  app_id: z.string(),
  vcpu: u32,
  /** MB */
  memory: u32,
  /** GB */
  disk_size: u32,
  image: z.string(),
  port_map: z.array(portMapSchema),
  created_at_ms: z.number().int().min(0),
  hugepages: z.boolean().default(false),
  pin_numa: z.boolean().default(false),
  gpus: z
    .object({
      attach_mode: z.enum(["all", "listed"]).default("listed"),
      gpus: z.array(z.object({ slot: z.string() })).default([]),
      bridges: z.array(z.object({ slot: z.string() })).default([]),
    })
    .nullish()
    .transform((value) => value ?? { attach_mode: "listed" as const, gpus: [], bridges: [] }),
  kms_urls: z.array(z.string()).default([]),
  gateway_urls: z.array(z.string()).default([]),
  no_tee: z.boolean().default(false),
  simulated_tee: z
    .string()
    .nullish()
    .transform((value) => value ?? undefined),
  swtpm: z.boolean().default(false),
  networks: z.array(networkingSchema).default([]),
  networking: networkingSchema.nullish(),
  volumes: z.array(z.object({ source: z.string() })).default([]),
});

type ManifestFile = z.output<typeof manifestSchema>;
export type PortMap = z.output<typeof portMapSchema>;
export type Manifest = Omit<ManifestFile, "networking">;

const VM_ID = /^[A-Za-z0-9_-]{1,64}$/;
const IMAGE_NAME = /^[A-Za-z0-9_.-]{1,64}$/;

export const isVmId = (name: string): boolean => VM_ID.test(name);

/** A VM id is a folder's name: nothing else may become one. @throws VmmError `request-invalid` */
export function checkVmId(id: string): string {
  if (!isVmId(id))
    throw new VmmError(
      "request-invalid",
      `invalid VM id ${JSON.stringify(id.slice(0, 80))}: expected 1 to 64 letters, digits, "_" or "-"`,
    );
  return id;
}

/** @throws VmmError `request-invalid` */
export function checkImageName(name: string): string {
  if (!IMAGE_NAME.test(name) || name.includes("..") || name.startsWith("."))
    throw new VmmError("request-invalid", `Invalid image name: ${JSON.stringify(name.slice(0, 80))}`);
  return name;
}

/**
 * vm-manifest.json of any version. Members that we do not know stay, so that whoever wrote them
 * finds them again. A single `networking` of older VMMs counts where there is no list.
 * @throws VmmError `vm-broken`
 */
export function parseManifest(text: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new VmmError(
      "vm-broken",
      `vm-manifest.json is not JSON (${text.length} characters): it was cut off or damaged`,
      { cause },
    );
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) throw new VmmError("vm-broken", `vm-manifest.json: ${z.prettifyError(parsed.error)}`);
  const { networking, ...manifest } = withUnknown(value, parsed.data);
  return manifest.networks.length > 0 || networking === null || networking === undefined
    ? manifest
    : { ...manifest, networks: [networking] };
}

/** The file's text; the first network is written under the old name as well, for older readers. */
export function encodeManifest(manifest: Manifest): string {
  const { simulated_tee, networks, volumes, ...rest } = manifest;
  return JSON.stringify({
    ...rest,
    ...(simulated_tee === undefined ? {} : { simulated_tee }),
    ...(networks.length === 0 ? {} : { networks, networking: networks[0] }),
    ...(volumes.length === 0 ? {} : { volumes }),
  });
}

/** Stands in where the manifest cannot be read, so that the VM is listed and can be removed. */
export function emptyManifest(id: string): Manifest {
  return {
    id,
    name: id,
    app_id: "",
    vcpu: 0,
    memory: 0,
    disk_size: 0,
    image: "",
    port_map: [],
    created_at_ms: 0,
    hugepages: false,
    pin_numa: false,
    gpus: { attach_mode: "listed", gpus: [], bridges: [] },
    kms_urls: [],
    gateway_urls: [],
    no_tee: false,
    simulated_tee: undefined,
    swtpm: false,
    networks: [],
    volumes: [],
  };
}

/** A checked value with the members beside it that its schema does not name. */
function withUnknown<T>(raw: unknown, known: T): T {
  if (Array.isArray(raw) && Array.isArray(known))
    return known.map((item: unknown, index) => withUnknown(raw[index], item)) as T;
  if (!isObject(raw) || !isObject(known)) return known;
  const members = Object.entries(known).map(([key, value]) => [key, withUnknown(raw[key], value)] as const);
  return { ...raw, ...Object.fromEntries(members) } as T;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
