import { BASE_DOMAIN, type StackLayout } from "./layout.ts";

/** `https://<app-id>[-<port>].<domain>:<proxy port>/`; port 80 needs no suffix. */
export function appUrl(layout: StackLayout, appId: string, port: number): string {
  return `https://${appId}${port === 80 ? "" : `-${port}`}.${BASE_DOMAIN}:${layout.ports.proxy}/`;
}
