import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { startWebhook } from "./fake/webhook.ts";
import { cleanUp, composeFile, makeHost, startVmm, untilInfo, vmRequest, type TestVmm } from "./vmm-process.ts";

after(cleanUp);

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);
const YAML = "services:\n  web:\n    image: nginx:alpine\n";
/** Set to a folder to keep pictures of the page. */
const pictures = process.env["DSTACK_CONSOLE_PICTURES"];

async function picture(page: Page, name: string): Promise<void> {
  if (pictures !== undefined) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: false });
}

async function openConsole(vmm: TestVmm): Promise<{ page: Page; complaints: string[]; context: BrowserContext }> {
  const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "dstack-console-")), {
    executablePath: executablePath ?? "",
    headless: true,
    viewport: { width: 1360, height: 900 },
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(20_000);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("status of 400")) complaints.push(message.text());
  });
  await page.goto(`http://127.0.0.1:${vmm.port}/`);
  return { page, complaints, context };
}

test(
  "the console lists, deploys, stops, starts and removes VMs, and shows why a boot was refused",
  { skip: executablePath === undefined ? "no Chromium" : false, timeout: 150_000 },
  async () => {
    const vmm = await startVmm(makeHost());
    const { page, complaints, context } = await openConsole(vmm);
    try {
      await page.getByText("No VM yet").waitFor();

      await page.locator("#deploy").click();
      await page.locator("input[name=name]").fill("hello");
      await page.locator("textarea[name=compose]").fill("services: [");
      await page.locator(".preview.wrong").getByText("invalid YAML").waitFor();
      await page.locator("textarea[name=compose]").fill(YAML);
      await page.getByText(/Compose hash [0-9a-f]{64}/).waitFor();
      await page.locator('.advice[data-allowed="null"]', { hasText: "this VMM does not know the policy" }).waitFor();
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

      const { id: refused } = await vmm.rpc<{ id: string }>(
        "CreateVm",
        vmRequest({
          name: "refused",
          user_config: '{"mode":"refuse"}',
          compose_file: composeFile({ name: "refused" }),
        }),
      );
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
      assert.deepEqual(
        complaints.filter(
          (text) => !/Failed to fetch|ERR_CONNECTION_REFUSED|network error|ERR_INCOMPLETE|ERR_/.test(text),
        ),
        [],
      );
    } finally {
      await context.close();
      await vmm.endAll();
    }
  },
);

test(
  "before a deployment or update the console says whether it is allowed, why not, and when nobody knows",
  { skip: executablePath === undefined ? "no Chromium" : false, timeout: 150_000 },
  async () => {
    const webhook = await startWebhook();
    const vmm = await startVmm(makeHost(), {
      toml: `[auth_webhook]\nurl = "${webhook.url}"\ndevice_id = "${"66".repeat(32)}"`,
    });
    const { page, complaints, context } = await openConsole(vmm);
    try {
      webhook.answer = ({ composeHash }) => ({
        isAllowed: false,
        reason: "compose hash <b>not</b> allowed",
        gatewayAppId: "",
        rule: `apps.0x${composeHash.slice(0, 40)}.composeHashes`,
        field: "composeHash",
      });
      await page.locator("#deploy").click();
      await page.locator("input[name=name]").fill("web");
      await page.locator("textarea[name=compose]").fill(YAML);
      const denied = page.locator('.advice[data-allowed="false"]', { hasText: "compose hash <b>not</b> allowed" });
      await denied.getByText(/Rule apps\.0x[0-9a-f]{40}\.composeHashes, field composeHash/).waitFor();
      assert.match(
        (await denied.locator("code").textContent()) ?? "",
        /^dstack auth allow compose 0x[0-9a-f]{64} --app 0x[0-9a-f]{40}$/,
      );
      await picture(page, "not-allowed");
      webhook.answer = () => ({ isAllowed: true, reason: "", gatewayAppId: "" });
      await page.locator("textarea[name=compose]").fill(`${YAML}# 2\n`);
      await page.locator('.advice[data-allowed="true"]').waitFor();
      await picture(page, "allowed");
      // An app that a contract governs has the contract's address for its id.
      webhook.answer = ({ appId }) => ({ isAllowed: false, reason: `unknown ${appId}`, gatewayAppId: "" });
      await page.locator("input[name=appId]").fill(`0x${"AB".repeat(20)}`);
      await page.locator('.advice[data-allowed="false"]', { hasText: `unknown ${"ab".repeat(20)}` }).waitFor();

      const { id } = await vmm.rpc<{ id: string }>(
        "CreateVm",
        vmRequest({ name: "running", compose_file: composeFile({ name: "running" }) }),
      );
      await page.locator("dialog button", { hasText: "Cancel" }).click();
      await page.locator("button.vm", { hasText: "running" }).click();
      webhook.answer = undefined;
      await page.locator("[data-action=update]").click();
      await page.locator('.advice[data-allowed="null"]', { hasText: "could not be asked" }).waitFor();
      webhook.answer = ({ appId }) => ({
        isAllowed: false,
        reason: `not for ${appId}`,
        gatewayAppId: "",
        rule: "apps",
        field: "appId",
      });
      await page.locator("textarea[name=compose]").fill(YAML);
      const { app_id: appId } = (await vmm.rpc<{ info: { app_id: string } }>("GetInfo", { id })).info;
      await page.locator('.advice[data-allowed="false"]', { hasText: `not for ${appId}` }).waitFor();
      await page.locator("form button[type=submit]").click();
      await page.locator("dialog").waitFor({ state: "hidden" });
      // Advice, no gate: the policy may be changed before the VM starts again.
      const { configuration } = (
        await vmm.rpc<{ info: { configuration: { compose_file: string } } }>("GetInfo", { id })
      ).info;
      const manifest = JSON.parse(configuration.compose_file) as { name: string; docker_compose_file: string };
      assert.deepEqual([manifest.name, manifest.docker_compose_file], ["running", YAML]);
      assert.deepEqual(complaints, []);
    } finally {
      await context.close();
      await vmm.endAll();
      webhook.close();
    }
  },
);
