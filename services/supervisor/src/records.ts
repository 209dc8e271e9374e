import { createHash } from "node:crypto";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { removeIfExists, writeJsonAtomic } from "@dstack/files";
import type { Logger } from "@dstack/log";
import { processConfigSchema } from "./process-config.ts";

const recordSchema = z.object({
  version: z.literal(1),
  config: processConfigSchema,
  started: z.boolean(),
  identity: z.object({ bootId: z.string(), pid: z.number().int().positive(), startTicks: z.string() }).nullable(),
  startedAt: z.number().nullable(),
});

/** What a later supervisor needs to find a process again. */
export type ProcessRecord = z.output<typeof recordSchema>;

export interface RecordStore {
  load(): Promise<ProcessRecord[]>;
  save(record: ProcessRecord): Promise<void>;
  remove(id: string): Promise<void>;
}

/** One file per process in `folder`, named by a hash of its id, since ids are free text. */
export function recordStore(folder: string, log: Logger): RecordStore {
  const fileOf = (id: string): string => join(folder, `${createHash("sha256").update(id).digest("hex")}.json`);
  return {
    load: async () => {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const records: ProcessRecord[] = [];
      for (const name of (await readdir(folder)).filter((candidate) => /^[0-9a-f]{64}\.json$/.test(candidate)).sort()) {
        try {
          records.push(recordSchema.parse(JSON.parse(await readFile(join(folder, name), "utf8"))));
        } catch (error) {
          log.error(
            { file: join(folder, name), error: error instanceof Error ? error.message : String(error) },
            "process record is unreadable and left out",
          );
        }
      }
      return records;
    },
    save: (record) => writeJsonAtomic(fileOf(record.config.id), record),
    remove: (id) => removeIfExists(fileOf(id)),
  };
}
