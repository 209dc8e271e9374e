import { readTextIfExists } from "@dstack/files";
import { TCB_STATUSES } from "@dstack/attest";
import type { PolicyChange } from "@dstack/governance";
import type { Cli } from "../clients/cli.ts";
import type { StackLayout } from "../local/layout.ts";
import { usage } from "../terminal/errors.ts";
import { appIdOf, hashOf } from "./hash-from-file.ts";
import { makeChanges } from "./make-changes.ts";
import type { AuthAllowOptions, AuthDenyOptions } from "./options.ts";
import { selectBackend } from "./select-backend.ts";

/** `dstack auth allow` */
export const authAllow = (
  cli: Cli,
  kind: string,
  value: string | undefined,
  options: AuthAllowOptions,
): Promise<void> => change(cli, { isAllowed: true, kind, value }, options);

/** `dstack auth deny` */
export const authDeny = (cli: Cli, kind: string, value: string | undefined, options: AuthDenyOptions): Promise<void> =>
  change(cli, { isAllowed: false, kind, value }, options);

/** A change as it was typed. */
interface Wish {
  readonly isAllowed: boolean;
  readonly kind: string;
  readonly value: string | undefined;
}

async function change(cli: Cli, wish: Wish, options: AuthAllowOptions): Promise<void> {
  const backend = await selectBackend(cli, options);
  await makeChanges(cli, backend, await changesOf(cli.layout, wish, options), options.output);
}

/** An advisory may come with others, as a denial names them. */
async function changesOf(layout: StackLayout, wish: Wish, options: AuthAllowOptions): Promise<readonly PolicyChange[]> {
  const { isAllowed, kind, value = "" } = wish;
  if (kind !== "advisory" && kind !== "status") return [await changeOf(layout, wish, options)];
  const names = value.split(",").map((name) => (kind === "advisory" ? name.trim().toUpperCase() : name.trim()));
  const wrong = names.find((name) => !(kind === "advisory" ? ADVISORY.test(name) : isStatus(name)));
  if (wrong !== undefined)
    usage(
      kind === "advisory"
        ? `${isAllowed ? "allow" : "deny"} advisory "${wrong}": expected an id like INTEL-SA-00837`
        : `${isAllowed ? "allow" : "deny"} status "${wrong}": expected ${STATUSES.join(", ")}`,
    );
  return names.map((name) => ({ kind, value: name, isAllowed }));
}

/** As Intel writes them. */
const ADVISORY = /^[A-Z]+-(?:SA|DOC)-\d{5}$/;

/** Revoked is none: no KMS takes evidence of a platform that Intel revoked. */
const STATUSES = TCB_STATUSES.filter((status) => status !== "Revoked");
const isStatus = (name: string): boolean => STATUSES.some((known) => known === name);

/** What `allow` or `deny` says in words, as a change. @throws CliError `usage` naming what is missing */
async function changeOf(
  layout: StackLayout,
  { isAllowed, kind, value }: Wish,
  { app, kms }: AuthAllowOptions,
): Promise<PolicyChange> {
  const need = (what: string): string => value ?? usage(`${isAllowed ? "allow" : "deny"} ${kind}: ${what} is missing`);
  const ofApp = async (): Promise<string> => appIdOf(app ?? usage(`${kind}: --app is missing`));
  switch (kind) {
    case "app":
      return { kind, app: await appIdOf(need("the app id")), isAllowed };
    case "compose":
      return { kind, app: await ofApp(), value: await hashOf("compose", need("the manifest")), isAllowed };
    case "device": {
      if ((app === undefined) === (kms !== true)) usage("device: say for whom, --app <app id> or --kms");
      const device = await hashOf("device", need("the device id"));
      return kms === true
        ? { kind: "kms-device", value: device, isAllowed }
        : { kind, app: await ofApp(), value: device, isAllowed };
    }
    case "any-device":
      return { kind, app: await ofApp(), isAllowed };
    case "os-image":
      return { kind, value: await hashOf("os-image", need("the image")), isAllowed };
    case "kms":
      return { kind, value: await hashOf("kms", need("the measurement")), isAllowed };
    case "gateway":
      if (!isAllowed) return { kind, value: "" };
      return { kind, value: value ?? (await localGateway(layout)) ?? need("the gateway's app id") };
    default:
      return usage(`"${kind}": expected app, compose, device, any-device, os-image, kms, gateway, advisory or status`);
  }
}

/** The app id of the local deployment's gateway, where there is one. */
async function localGateway(layout: StackLayout): Promise<string | undefined> {
  const digits = (await readTextIfExists(layout.gatewayAppId))?.trim();
  return digits === undefined ? undefined : `0x${digits}`;
}
