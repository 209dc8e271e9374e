import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { chromium, type Page } from "playwright-core";
import { cleanUp, composeFile, makeHost, startVmm, untilInfo, vmRequest } from "./vmm-process.ts";

after(cleanUp);

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));
const YAML = "services:\n  web:\n    image: nginx:alpine\n";
/** Set to a folder to keep pictures of the page. */
const pictures = process.env["DSTACK_CONSOLE_PICTURES"];

async function picture(page: Page, name: string): Promise<void> {
  if (pictures !== undefined) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: false });
}

test("the console lists, deploys, stops, starts and removes VMs, and shows why a boot was refused", { skip: executablePath === undefined ? "no Chromium" : false, timeout: 150_000 }, async () => {
  const vmm = await startVmm(makeHost());
  const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "dstack-console-")), {
    executablePath: executablePath ?? "",
    headless: true,
    viewport: { width: 1360, height: 900 },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    page.setDefaultTimeout(20_000);
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error" && !message.text().includes("status of 400")) complaints.push(message.text());
    });
    await page.goto(`http://127.0.0.1:${vmm.port}/`);
    await page.getByText("No VM yet").waitFor();

    await page.locator("#deploy").click();
    await page.locator("input[name=name]").fill("hello");
    await page.locator("textarea[name=compose]").fill("services: [");
    await page.locator(".preview.wrong").getByText("invalid YAML").waitFor();
    await page.locator("textarea[name=compose]").fill(YAML);
    await page.getByText(/Compose hash [0-9a-f]{64}/).waitFor();
    await page.locator("select[name=tee]").selectOption("none");
    await page.locator("input[name=memory]").fill("1024");
    await picture(page, "deploy");
    await page.locator("form button[type=submit]").click();

    const entry = page.locator("button.vm", { hasText: "hello" });
    await page.locator('button.vm[data-status="running"]', { hasText: "hello" }).waitFor();
    await page.locator(".phases .done", { hasText: "requesting app keys" }).waitFor();
    await page.locator("pre.log", { hasText: "Finished App Compose Service" }).first().waitFor();
    await picture(page, "running");
    const { vms } = await vmm.rpc<{ vms: { id: string; name: string }[] }>("Status", {});
    const id = vms[0]?.id ?? "";

    await page.locator("[data-action=stop]").click();
    await page.locator("dialog .danger").click();
    await page.locator('button.vm[data-status="stopped"]', { hasText: "hello" }).waitFor();
    await page.locator("[data-action=start]").click();
    await page.locator('button.vm[data-status="running"]', { hasText: "hello" }).waitFor();

    const { id: refused } = await vmm.rpc<{ id: string }>("CreateVm", vmRequest({ name: "refused", user_config: '{"mode":"refuse"}', compose_file: composeFile({ name: "refused" }) }));
    await untilInfo(vmm, refused, (vm) => vm.status === "exited", "refusal");
    await page.locator("button.vm", { hasText: "refused" }).click();
    // The guest's words are text, whatever they look like.
    await page.locator("#detail .banner", { hasText: "KMS refused: <b>compose hash</b> is not allowed" }).waitFor();
    assert.equal(await page.locator("#detail .banner p b").count(), 0);
    await picture(page, "refused");
    await page.emulateMedia({ colorScheme: "dark" });
    await picture(page, "refused-dark");
    await page.setViewportSize({ width: 420, height: 860 });
    await picture(page, "narrow");
    await page.setViewportSize({ width: 1360, height: 900 });

    await entry.click();
    await page.locator("[data-action=remove]").click();
    await page.locator("dialog button", { hasText: "Cancel" }).click();
    assert.equal((await vmm.rpc<{ found: boolean }>("GetInfo", { id })).found, true, "cancelled: nothing is removed");
    await page.locator("[data-action=remove]").click();
    await page.locator("dialog .danger").click();
    await entry.waitFor({ state: "detached" });

    await vmm.end();
    await page.locator("#offline", { hasText: "The VMM cannot be reached" }).waitFor();
    assert.deepEqual(complaints.filter((text) => !/Failed to fetch|ERR_CONNECTION_REFUSED|network error|ERR_INCOMPLETE|ERR_/.test(text)), []);
  } finally {
    await context.close();
    await vmm.endAll();
  }
});
