/** For tests of other packages, which reach into this folder only. */
export { startKms, type Kms } from "../src/kms.ts";
export { makeBackup } from "../src/backup/make-backup.ts";
