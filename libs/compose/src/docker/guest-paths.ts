/**
 * What a path of the guest gives to the container that gets it. All of it is power, whatever is not known to be none: the
 * guest's root file system can be written, and who writes its programs or settings is root in it.
 */
import type { PowerKind } from "./power-kind.ts";

const DOCKER = ["/run/docker.sock", "/run/containerd", "/run/docker", "/var/lib/docker", "/var/lib/containerd"];
const AGENT = ["/run/dstack.sock", "/run/tappd.sock", "/run/dstack"];
/** In the app's folder, and not the app's: they hold its disk, or decide what starts. Names with a dot are none of it. */
const NOT_THE_APPS = ["/dstack/persistent", "/dstack/docker-compose.yaml"];
/** What programs look up, and what tells nothing of the guest that its containers do not know. */
const WELL_KNOWN: ReadonlySet<string> = new Set([
  "/etc/hostname",
  "/etc/hosts",
  "/etc/localtime",
  "/etc/os-release",
  "/etc/resolv.conf",
  "/etc/ssl/certs",
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/timezone",
  "/usr/share/zoneinfo",
]);

/**
 * @param path as `guestPath` gives it
 * @returns undefined for a path of the app's own folder, and for what everybody may read and that is only read
 */
export function powerOfPath(path: string, isReadOnly: boolean): PowerKind | undefined {
  // A folder gives what lies in it: `/run` and `/` hold Docker's socket as well.
  if (DOCKER.some((place) => isWithin(path, place) || isWithin(place, path))) return "docker";
  if (AGENT.some((place) => isWithin(path, place))) return "guest-socket";
  if (WELL_KNOWN.has(path) && isReadOnly) return undefined;
  return isTheApps(path) ? undefined : "guest-files";
}

/** Whether the first path is the second one, or lies in it. */
export const isWithin = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder === "/" ? "/" : `${folder}/`);

function isTheApps(path: string): boolean {
  const isHidden = path.split("/").some((part) => part.startsWith(".") && part !== ".env");
  return path !== "/dstack" && isWithin(path, "/dstack") && !isHidden && !NOT_THE_APPS.some((no) => isWithin(path, no));
}

/** A path as the file writes it, made absolute: the project lies in /dstack, root's home is /root, /var/run is /run. */
export function guestPath(path: string): string {
  const absolute = path.startsWith("~") ? `/root/${path.slice(1)}` : path.startsWith("/") ? path : `/dstack/${path}`;
  const parts: string[] = [];
  for (const part of absolute.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`
    .replace(/^\/var\/run(?=\/|$)/, "/run")
    .replace(/^\/var\/volatile\/dstack(?=\/|$)/, "/dstack");
}
