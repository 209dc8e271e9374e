import { escapeHtml } from "@dstack/http";
import { toHex } from "@dstack/bytes";
import type { AppInfoMessage } from "./app-info.ts";
import type { AgentPorts, Machine } from "./ports.ts";

/** The page of the public port: who this is, what runs, and the measurements where they are public. */
export async function renderPublicPage({ manifest, machine }: AgentPorts, info: AppInfoMessage): Promise<string> {
  const { compose } = manifest;
  const rows: [string, string][] = [
    ["App Name", info.appName],
    ["App ID", toHex(info.appId)],
    ["Instance ID", toHex(info.instanceId)],
    ["Device ID", toHex(info.deviceId)],
    ["Key Provider Info", info.keyProviderInfo],
  ];
  if (info.cloudVendor !== "" || info.cloudProduct !== "")
    rows.push(["Machine Provider", `${info.cloudVendor} (${info.cloudProduct})`]);
  if (compose.publicSysinfo) rows.push(...(await systemRows(machine)));
  const containers = await machine.containers().catch(() => []);
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Worker Information</title></head><body>',
    "<h1>Node Information</h1>",
    table(rows.map(([name, value]) => [`<strong>${escapeHtml(name)}</strong>`, escapeHtml(value)])),
    "<h2>Deployed Containers</h2>",
    table([
      ["Name", "Status"],
      ...containers.map((container) => [
        escapeHtml((container.names[0] ?? container.id).replace(/^\//, "")),
        escapeHtml(container.status),
      ]),
    ]),
    "<h2>TCB Info</h2>",
    compose.publicTcbinfo
      ? `<textarea readonly rows="20" cols="100">${escapeHtml(info.tcbInfo)}</textarea>`
      : "<p>TCB info is not public</p>",
    "</body></html>\n",
  ].join("\n");
}

/** `1.50 KB`: steps of 1024, two decimals. */
export function humanSize(bytes: number | bigint): string {
  const units = ["B", "KB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(2)} ${units[unit]}`;
}

async function systemRows(machine: Machine): Promise<[string, string][]> {
  const info = await machine.systemInfo();
  const load = (value: number): string => `${(value / 100).toFixed(2)}%`;
  return [
    ["Operating System", `${info.osName} ${info.osVersion}`],
    ["Kernel Version", info.kernelVersion],
    ["CPU", `${info.cpuModel} (${info.numCpus} cores)`],
    [
      "Memory Usage",
      `Used: ${humanSize(info.usedMemory)} / Total: ${humanSize(info.totalMemory)} (Available: ${humanSize(info.availableMemory)})`,
    ],
    [
      "Swap Usage",
      `Used: ${humanSize(info.usedSwap)} / Total: ${humanSize(info.totalSwap)} (Free: ${humanSize(info.freeSwap)})`,
    ],
    [
      "Load Average",
      `1min: ${load(info.loadavgOne)}, 5min: ${load(info.loadavgFive)}, 15min: ${load(info.loadavgFifteen)}`,
    ],
    ["System Uptime", `${info.uptime}`],
    ...info.disks.map((disk, i): [string, string] => [
      `Disk ${i}`,
      `Free: ${humanSize(disk.freeSize)} / Total: ${humanSize(disk.totalSize)}`,
    ]),
  ];
}

const table = (rows: readonly (readonly string[])[]): string =>
  `<table>${rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("\n")}</table>`;
