/** What a service mounts, short and long form, as docker compose reads it. */
import { isUnknown, itemsOf, memberOf, textOf, type ComposeNode, type Place } from "./node.ts";
import type { ComposeService } from "./read-compose-file.ts";

export interface Mount {
  /** `volume`, `bind`, `tmpfs` and what else the long form names. */
  readonly type: string;
  /** Name of a volume or path on the VM; undefined for an anonymous volume, and where a variable decides. */
  readonly source: string | undefined;
  /** Whether a variable whose value is not known has a say. */
  readonly isUnknown: boolean;
  readonly place: Place;
}

/** The service's mounts; what is no mount is a text that says why. */
export function mountsOf({
  node,
}: ComposeService): readonly (Mount | { readonly invalid: string; readonly place: Place })[] {
  return itemsOf(memberOf(node, "volumes")).map((entry) => {
    if (entry.kind === "map") return longForm(entry);
    if (isUnknown(entry)) return blind(entry);
    const mount = shortForm(textOf(entry) ?? "");
    return typeof mount === "string" ? { invalid: mount, place: entry.place } : { ...mount, place: entry.place };
  });
}

/** The folder or file of the VM that a mount shows to the container; undefined for a volume. */
export const hostPathOf = ({ type, source }: Mount): string | undefined => (type === "bind" ? source : undefined);

function longForm(entry: ComposeNode): Mount | { invalid: string; place: Place } {
  const [type, source, target] = ["type", "source", "target"].map((key) => memberOf(entry, key));
  if (target === undefined && textOf(type) !== undefined)
    return { invalid: "a mount without `target`", place: entry.place };
  if (textOf(type) === "bind" && source === undefined)
    return { invalid: "a bind mount without `source`", place: entry.place };
  return {
    type: textOf(type) ?? "volume",
    source: textOf(source),
    isUnknown: [type, source, target].some(isUnknown),
    place: entry.place,
  };
}

/** What a text can tell whose variables are not known: its part before the first colon, where that is known. */
function blind(entry: ComposeNode): Mount {
  const raw = entry.kind === "scalar" ? entry.raw : "";
  const before = /^([^$:]+):/.exec(raw)?.[1];
  return {
    type: before !== undefined && isPath(before) ? "bind" : "volume",
    source: before,
    isUnknown: true,
    place: entry.place,
  };
}

/** `[source:]target[:options]`; one letter before a colon is a drive of Windows. A text is what is wrong. */
function shortForm(spec: string): Omit<Mount, "place"> | string {
  if (spec === "") return "an empty mount";
  const known = { isUnknown: false } as const;
  if (spec.length <= 2) return { type: "volume", source: undefined, ...known };
  const fields: string[] = [];
  let field = "";
  for (const [i, char] of [...spec].entries()) {
    const isDrive = char === ":" && /^[a-zA-Z]$/.test(field) && fields.length < 2;
    if (char === ":" && !isDrive) {
      fields.push(field);
      field = "";
    } else {
      field += char;
    }
    if (i > 65_536) return "a mount that is far too long";
  }
  fields.push(field);
  if (fields.some((part) => part === "")) return `mount ${JSON.stringify(spec)}: nothing stands between colons`;
  if (fields.length > 3) return `mount ${JSON.stringify(spec)}: too many colons`;
  const source = fields.length === 1 ? undefined : fields[0];
  return { type: source !== undefined && isPath(source) ? "bind" : "volume", source, ...known };
}

const isPath = (source: string): boolean => /^(?:[./~]|[a-zA-Z]:|\\\\)/.test(source);
