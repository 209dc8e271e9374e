/**
 * Where things lie: in the checkout that this command line is part of, in the caches that the bootstrap fills, and in
 * the folders of the system. The one file that spells these paths.
 */
import { join } from "node:path";
import type { StackLayout } from "./layout.ts";

/** The checkout. */
export const REPOSITORY_ROOT = join(import.meta.dirname, "../../..");

const inCheckout = (path: string): string => join(REPOSITORY_ROOT, path);

/** The programs of the local deployment that Node runs, by the name they are started under. */
export const SERVICE_PROGRAMS = {
  "mock-pccs": inCheckout("services/tee-simulator/src/pccs-main.ts"),
  "key-provider": inCheckout("services/tee-simulator/src/key-provider-main.ts"),
  "auth-simple": inCheckout("services/auth-simple/src/main.ts"),
  kms: inCheckout("services/kms/src/main.ts"),
  gateway: inCheckout("services/gateway/src/main.ts"),
  vmm: inCheckout("services/vmm/src/main.ts"),
} as const;
export type ServiceName = keyof typeof SERVICE_PROGRAMS;

/** This command line, as `dstack` runs it. */
export const COMMAND_LINE = inCheckout("cli/src/main.ts");

/** The app that `dstack up` deploys: how it is composed, and what its image is built from. */
export const HELLO_COMPOSE_FILE = inCheckout("examples/hello/docker-compose.yaml");
export const HELLO_IMAGE_FOLDER = inCheckout("examples/hello/image");

/** The registry that the bootstrap takes from Debian. */
export const registryProgram = ({ cache }: StackLayout): string => join(cache, "tools", "bin", "docker-registry");

/** The folder of the QEMU that the bootstrap chose; `DSTACK_QEMU_DIR` names another. */
export const qemuFolder = ({ cache }: StackLayout, env: NodeJS.ProcessEnv): string =>
  env["DSTACK_QEMU_DIR"] ?? join(cache, "qemu", "current", "bin");

/** The QEMU that boots the guests. */
export const qemuProgram = (layout: StackLayout, env: NodeJS.ProcessEnv): string =>
  join(qemuFolder(layout, env), "qemu-system-x86_64");

/** Where guest images are built: packages, tools, what is kept between builds. */
export const imageBuildFolder = ({ cache }: StackLayout): string => join(cache, "image-build");

/** Images that the KMS, or `dstack verify`, downloaded to compare measurements with. */
export const kmsImageFolder = ({ cache }: StackLayout): string => join(cache, "kms-images");
export const verifiedImageFolder = ({ cache }: StackLayout): string => join(cache, "verified-images");
