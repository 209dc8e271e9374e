/** The mark that says once and for all whether a folder's keys are for development or production. */
export { KeyFolderError, type KeyFolderErrorCode } from "./errors.ts";
export { giveMark, markKeyFolder } from "./key-folder.ts";
export type { Environment, MarkOptions } from "./key-folder.ts";
