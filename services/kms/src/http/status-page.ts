import type { JsonObject } from "@dstack/rpc";
import { escapeHtml } from "@dstack/http";

/** What `GET /` says, as data. */
export interface StatusReport extends JsonObject {
  readonly name: string;
  readonly version: string;
  readonly domain: string;
  readonly environment: string;
  readonly insecure_settings: readonly string[];
  readonly checks: readonly { readonly name: string; readonly result: string; readonly reason: string }[];
  readonly links: Readonly<Record<string, string>>;
}

/** The same as a page for people, without a script and without anything from elsewhere. */
export function statusPage(report: StatusReport): string {
  const { name, version, domain, environment, insecure_settings: insecure, checks, links } = report;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(name)} ${escapeHtml(domain)}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #1c2024; background: #fff }
th { text-align: left; padding-right: 2rem; vertical-align: top; font-weight: 600 }
li.insecure { color: #a40000 }
@media (prefers-color-scheme: dark) { body { color: #e6e8ea; background: #16181a } a { color: #8ab4f8 } li.insecure { color: #ff8f8f } }
</style>
</head>
<body>
<h1>${escapeHtml(name)}</h1>
<table>
<tr><th scope="row">Version</th><td>${escapeHtml(version)}</td></tr>
<tr><th scope="row">Domain</th><td>${escapeHtml(domain)}</td></tr>
<tr><th scope="row">Environment</th><td>${escapeHtml(environment)}</td></tr>
${checks.map((check) => `<tr><th scope="row">${escapeHtml(check.name)}</th><td>${escapeHtml(check.result)}: ${escapeHtml(check.reason)}</td></tr>`).join("\n")}
</table>
<h2>Insecure settings</h2>
${insecure.length === 0 ? "<p>None.</p>" : `<ul>${insecure.map((setting) => `<li class="insecure"><code>${escapeHtml(setting)}</code></li>`).join("")}</ul>`}
<h2>Links</h2>
<ul>${Object.entries(links)
    .map(([label, href]) => `<li><a href="${escapeHtml(href)}">${escapeHtml(label)}</a></li>`)
    .join("")}</ul>
</body>
</html>
`;
}
