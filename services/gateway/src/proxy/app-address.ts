/**
 * What a server name asks for: `<label>.<base domain>` with
 * `label = id [ "-" [ port ] [ "s" | "g" ] ]`; every other name is some customer's own.
 */
export type Target =
  | { readonly kind: "platform"; readonly address: AppAddress; readonly baseDomain: string }
  | { readonly kind: "custom-domain"; readonly name: string }
  | { readonly kind: "invalid"; readonly reason: string };

export interface AppAddress {
  /** App id, instance id or a reserved word, lower-case. */
  readonly id: string;
  readonly port: number;
  /** `h2` terminates TLS and speaks HTTP/2 to the app. */
  readonly mode: "terminate" | "h2" | "passthrough";
}

/** Splits a lower-case server name at its first dot and reads the label. */
export function targetOf(serverName: string, isBaseDomain: (domain: string) => boolean): Target {
  const dot = serverName.indexOf(".");
  if (dot <= 0) return { kind: "invalid", reason: "invalid sni" };
  const baseDomain = serverName.slice(dot + 1);
  if (!isBaseDomain(baseDomain)) return { kind: "custom-domain", name: serverName };
  const address = parseAppLabel(serverName.slice(0, dot));
  return typeof address === "string" ? { kind: "invalid", reason: address } : { kind: "platform", address, baseDomain };
}

/** The address, or the reason why the label is none. */
export function parseAppLabel(label: string): AppAddress | string {
  const [id = "", tail, ...rest] = label.split("-");
  if (id === "") return "app id is empty";
  if (rest.length > 0) return "invalid sni format";
  if (tail === undefined) return { id, port: 80, mode: "terminate" };
  const suffix = /[sg]$/.exec(tail)?.[0];
  const digits = suffix === undefined ? tail : tail.slice(0, -1);
  if (suffix === "g" && digits.endsWith("s")) return "invalid sni format: `gs` is not allowed";
  const mode = suffix === "s" ? "passthrough" : suffix === "g" ? "h2" : "terminate";
  if (digits === "") return { id, port: mode === "passthrough" ? 443 : 80, mode };
  const port = Number(digits);
  if (!/^\d{1,5}$/.test(digits) || port < 1 || port > 65_535) return "invalid port";
  return { id, port, mode };
}
