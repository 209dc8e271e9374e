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
}

const MARK = "environment";

/**
 * Reads the folder's mark, or writes it at first start and never again.
 * @throws KeyFolderError `insecure-in-production` when a production folder meets insecure settings,
 *   `mark-unreadable` when the mark holds anything but the two words
 */
export async function markKeyFolder(folder: string, options: MarkOptions): Promise<Environment> {
  const path = join(folder, MARK);
  const text = (await readTextIfExists(path))?.trim();
  if (text === undefined) {
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
  if (text === "production" && options.insecureSettings.length > 0) {
    throw new KeyFolderError(
      "insecure-in-production",
      `${folder} is marked production and refuses: ${options.insecureSettings.join("; ")}. Remove these settings, or use another folder for development`,
    );
  }
  return text;
}
