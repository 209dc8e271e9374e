import { openApiDocument, type DescribedRoute, type DescribedService, type HttpRoute } from "@dstack/rpc";
import type { CallerRule } from "../release/caller.ts";

/** Every authentication rule of the three services, in the words of the description. */
export const RULES = {
  none: "anybody",
  attested: "evidence in the client certificate",
  admin: "credentials of the administration",
  "set-up": "whoever reaches the set-up listener, with the token where one is asked for",
} as const satisfies Readonly<Record<CallerRule | "admin" | "set-up", string>>;

export interface ApiDescriptionOptions {
  readonly title: string;
  readonly version: string;
  readonly service: DescribedService["service"];
  readonly routes?: readonly DescribedRoute[];
}

const PATH = "/openapi.json";

/** `GET /openapi.json` of one listener: what that listener serves, and no more. */
export function apiDescriptionRoute({ title, version, service, routes = [] }: ApiDescriptionOptions): HttpRoute {
  const own: DescribedRoute = { path: PATH, summary: "This description", answers: ["application/json"] };
  const document = openApiDocument({
    title,
    version,
    services: [{ path: "/prpc/", service, rules: RULES }],
    routes: [...routes, own],
  });
  const body = JSON.stringify(document, null, 2);
  return {
    verbs: ["GET"],
    path: PATH,
    handle: async ({ response }) => {
      response
        .writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) })
        .end(body);
    },
  };
}
