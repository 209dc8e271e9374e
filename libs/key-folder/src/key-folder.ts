import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { readTextIfExists, writeFileAtomic } from "@dstack/files";
import { KeyFolderError } from "./errors.ts";

/** `development` admits insecure settings and shows them; `production` refuses them. */
export type Environment = "development" | "production";

export interface MarkOptions {
  /**
   * Settings in force that are insecure, each as the operator would name it, e.g.
   * `core.auth_api.type = "dev"`. At first start any of them makes the folder a development one.
   */
  readonly insecureSettings: readonly string[];
  /**
   * Given where the folder holds keys already: what an operator does then. Keys of a folder that
   * lost its mark may be those of production, so today's settings do not decide for them.
   */
  readonly withoutMark?: string;
}

const MARK = "environment";

/**
 * Reads the folder's mark, or writes it at first start and never again.
 * @throws KeyFolderError `mark-missing` where there are keys, `insecure-in-production` when a production folder meets insecure settings,
 *   `mark-unreadable` when the mark holds anything but the two words
 */
export async function markKeyFolder(folder: string, options: MarkOptions): Promise<Environment> {
  const path = join(folder, MARK);
  const text = (await readTextIfExists(path))?.trim();
  if (text === undefined) {
    if (options.withoutMark !== undefined) {
      throw new KeyFolderError("mark-missing", `${folder} holds keys and no mark (${MARK}): ${options.withoutMark}`);
    }
    const environment: Environment = options.insecureSettings.length > 0 ? "development" : "production";
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFileAtomic(path, `${environment}\n`);
    return environment;
  }
  if (text !== "development" && text !== "production") {
    throw new KeyFolderError(
      "mark-unreadable",
      `${path} holds "${text.slice(0, 40)}", expected development or production; restore it from a backup of the folder`,
    );
  }
  if (text === "production") requireNoneInsecure(`${folder} is marked production and`, options);
  return text;
}

/**
 * Marks a folder that has keys and no mark, as those of other releases; never one that has its mark.
 * @throws KeyFolderError `already-marked`, `insecure-in-production`
 */
export async function giveMark(
  folder: string,
  environment: Environment,
  options: Pick<MarkOptions, "insecureSettings">,
): Promise<void> {
  const path = join(folder, MARK);
  const text = await readTextIfExists(path);
  if (text !== undefined)
    throw new KeyFolderError(
      "already-marked",
      `${folder} is marked ${text.trim().slice(0, 40)} already, once and for all`,
    );
  if (environment === "production") requireNoneInsecure("production", options);
  await writeFileAtomic(path, `${environment}\n`);
}

function requireNoneInsecure(who: string, { insecureSettings }: Pick<MarkOptions, "insecureSettings">): void {
  if (insecureSettings.length === 0) return;
  throw new KeyFolderError(
    "insecure-in-production",
    `${who} refuses: ${insecureSettings.join("; ")}. Remove these settings, or use another folder for development`,
  );
}
