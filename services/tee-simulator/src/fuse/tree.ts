/** A tree of attribute files: what a FUSE mount shows. */

/**
 * - read: the content at the time of the first read of an open file
 * - write: one write, which is one command (sysfs)
 * - commit: everything written to an open file, when it is closed (configfs binary attributes)
 * Each may throw FuseErrno.
 */
export interface SimulatedFile {
  readonly kind: "file";
  readonly mode: number;
  readonly read?: () => Uint8Array;
  readonly write?: (offset: number, bytes: Uint8Array) => void;
  readonly commit?: { readonly maxBytes: number; readonly apply: (bytes: Uint8Array) => void };
}

export interface SimulatedFolder {
  readonly kind: "folder";
  readonly entries: Readonly<Record<string, SimulatedNode>>;
}

export type SimulatedNode = SimulatedFile | SimulatedFolder;

export const folder = (entries: Readonly<Record<string, SimulatedNode>>): SimulatedFolder => ({
  kind: "folder",
  entries,
});

/** Nodes by number, root first: the tree never changes, so numbers stay valid. */
export interface IndexedNode {
  readonly node: SimulatedNode;
  readonly children: ReadonlyMap<string, bigint>;
}

export function indexTree(root: SimulatedFolder): ReadonlyMap<bigint, IndexedNode> {
  const index = new Map<bigint, IndexedNode>();
  let next = 1n;
  const add = (node: SimulatedNode): bigint => {
    const number = next++;
    const children = new Map<string, bigint>();
    index.set(number, { node, children });
    if (node.kind === "folder")
      for (const [name, child] of Object.entries(node.entries)) children.set(name, add(child));
    return number;
  };
  add(root);
  return index;
}
