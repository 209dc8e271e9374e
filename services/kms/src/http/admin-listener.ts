import { ADMIN_LOGINS, adminCredentials } from "@dstack/http";
import type { DescribedRoute, HttpServer } from "@dstack/rpc";
import { backupRoute } from "../backup/backup-routes.ts";
import type { AdminConfig } from "../config/kms-config.ts";
import { readConfigured } from "../kms-parts.ts";
import type { OpenKms } from "../open-kms.ts";
import { startAdminServer, type AdminOptions } from "./admin.ts";
import { parseHtpasswd, passwordCheck } from "./htpasswd.ts";

const BACKUP: DescribedRoute = {
  path: "/backup",
  summary: "The root keys, sealed to the configured operators",
  answers: ["application/json"],
  verb: "post",
  otherwise: { 400: "Refused; the text says why" },
};

/** The administration of a KMS that has its keys. @throws KmsError `config-invalid` for its file of users */
export async function startAdminListener(kms: OpenKms, admin: AdminConfig): Promise<HttpServer> {
  return startAdminServer({
    listen: admin,
    auth: await loginOf(admin),
    caches: kms.caches,
    version: kms.version,
    log: kms.log,
    routes: [{ described: BACKUP, ...backupRoute(kms) }],
  });
}

async function loginOf({ token, htpasswdFile }: AdminConfig): Promise<AdminOptions["auth"]> {
  if (token === undefined && htpasswdFile === undefined) return undefined;
  const users =
    htpasswdFile === undefined
      ? undefined
      : parseHtpasswd(await readConfigured(htpasswdFile, "core.admin.htpasswd_file"));
  return adminCredentials({
    rules: ADMIN_LOGINS.kms,
    tokens: token === undefined ? [] : [token],
    ...(users === undefined ? {} : { isUser: passwordCheck(users) }),
  });
}
