import { VmmError } from "../errors.ts";

export interface IdPool {
  /** The lowest free id, or undefined when there is none. */
  allocate(): number | undefined;
  /** @throws VmmError `conflict` when it is taken or outside the pool */
  occupy(id: number): void;
  free(id: number): void;
  clear(): void;
}

/** Ids of the half-open range [start, end). */
export function createIdPool(start: number, end: number): IdPool {
  const taken = new Set<number>();
  return {
    allocate: () => {
      for (let id = start; id < end; id++) {
        if (taken.has(id)) continue;
        taken.add(id);
        return id;
      }
      return undefined;
    },
    occupy: (id) => {
      if (id < start || id >= end) throw new VmmError("conflict", `id ${id} outside pool range [${start}, ${end})`);
      if (taken.has(id)) throw new VmmError("conflict", `id ${id} is already taken`);
      taken.add(id);
    },
    free: (id) => void taken.delete(id),
    clear: () => taken.clear(),
  };
}

/** The CID of a new VM. @throws VmmError `pool-exhausted` */
export function cidFor(pool: IdPool, size: number): number {
  const cid = pool.allocate();
  if (cid === undefined)
    throw new VmmError("pool-exhausted", `CID pool exhausted: ${size} VMs exist (cvm.cid_pool_size)`);
  return cid;
}
