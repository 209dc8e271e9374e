/** The mark that says once and for all whether a folder's keys are for development or production. */
export { KeyFolderError, markKeyFolder } from "./key-folder.ts";
export type { Environment, KeyFolderErrorCode, MarkOptions } from "./key-folder.ts";
