/** Boots of several versions of an app on one disk, with Docker at the wire and power cuts at every step. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { quietLog } from "../../../libs/agent/test/fixture.ts";
import { dockerApi } from "../src/app/docker-api.ts";
import { readLastApp, writeLastApp } from "../src/app/last-app.ts";
import type { Project } from "../src/app/present-app.ts";
import { beginSuccession } from "../src/app/succession.ts";
import { FakeDocker } from "./fake-docker.ts";

const label = (service: string, project = "shop"): Record<string, string> => ({
  "com.docker.compose.project": project,
  "com.docker.compose.service": service,
});

interface Version {
  readonly name: string;
  readonly mayLeaveBehind: boolean;
  readonly project: Project | undefined;
  /** Whether docker compose starts it; a script otherwise. */
  readonly isComposed: boolean;
  /** What the app starts through Docker's socket. */
  readonly launches: readonly string[];
}

const version = (name: string, change: Partial<Version> = {}): Version => ({
  name,
  mayLeaveBehind: true,
  project: { name: "shop", services: ["web", "db"] },
  isComposed: true,
  launches: [`launched-by-${name}`],
  ...change,
});
const hashOf = ({ name }: Version): string => Buffer.from(name).toString("hex").padEnd(64, "0");

describe("what an earlier version left in Docker", () => {
  let folder = "";
  let root = "";
  let recordPath = "";
  let docker: FakeDocker;
  let serial = 0;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "dstack-succession-"));
    root = join(folder, "docker");
    recordPath = join(folder, "lib/last-app.json");
    docker = new FakeDocker(root);
  });
  afterEach(() => rm(folder, { recursive: true }));

  const nextId = (): string => (++serial).toString(16).padStart(12, "0");

  /** What docker compose does at `up`: makes anew what is missing or has to be, and starts it. */
  async function up(of: Version, recreates: boolean, cutAfter = Number.POSITIVE_INFINITY): Promise<void> {
    for (const [i, service] of (of.project?.services ?? ["web"]).entries()) {
      if (i >= cutAfter) throw new Error("power cut in up");
      const own = [...docker.containers.values()].filter(
        ({ labels }) =>
          labels["com.docker.compose.project"] === "shop" && labels["com.docker.compose.service"] === service,
      );
      if (recreates) for (const { id } of own) await docker.remove(id);
      const found = recreates ? undefined : own[0]?.id;
      const id = found ?? nextId();
      if (found === undefined)
        await docker.add({ id, name: `shop-${service}-1`, labels: label(service), madeBy: of.name, policy: "always" });
      docker.start(id);
    }
    for (const name of of.launches)
      if (![...docker.containers.values()].some((container) => container.name === name)) {
        const id = nextId();
        await docker.add({ id, name, labels: {}, madeBy: of.name, policy: "unless-stopped" });
        docker.start(id);
      }
  }

  /** One boot, to its end or to where the power fails. */
  async function boot(of: Version, cut: { readonly step?: string; readonly request?: number } = {}): Promise<void> {
    docker.under = of.name;
    docker.powerFor = cut.request ?? Number.POSITIVE_INFINITY;
    const socketPath = join(folder, `docker-${++serial}.sock`);
    const api = dockerApi(socketPath);
    const step = (name: string): void => {
      if (cut.step === name) throw new Error(`power cut before ${name}`);
    };
    const succession = await beginSuccession({
      dockerRoot: root,
      recordPath,
      present: { composeHash: hashOf(of), mayLeaveBehind: of.mayLeaveBehind },
      project: of.project,
      isComposed: of.isComposed,
      log: quietLog,
    });
    step("Docker");
    await docker.listen(socketPath);
    try {
      await succession.beforeApp(api);
      step("up");
      await up(of, succession.recreates, cut.step === "the middle of up" ? 1 : undefined);
      step("the end");
      await succession.afterApp(api);
    } finally {
      await docker.close();
    }
  }

  const names = (): string[] => [...docker.containers.values()].map(({ name }) => name).toSorted();
  const running = (): string[] =>
    [...docker.containers.values()]
      .filter(({ state }) => state === "running")
      .map(({ name }) => name)
      .toSorted();

  /** What version 1 leaves, and what somebody with Docker's socket may have made of it. */
  async function leftovers(): Promise<void> {
    for (const name of ["swarm", "plugins", "network", "volumes"]) {
      await mkdir(join(root, name), { recursive: true });
      await writeFile(join(root, name, "state"), "old");
    }
    const old = { madeBy: "v1", policy: "always" };
    const make = (name: string, labels: Record<string, string>, change: object = {}): Promise<void> =>
      docker.add({ id: nextId(), name, labels, ...old, ...change });
    await make("shop-web-1", label("web"));
    await make("shop-db-1", label("db"), { policy: "unless-stopped" });
    await make("stowaway", {});
    await make("claims-our-service", label("web"));
    await make("claims-a-removed-service", label("gone"));
    await make("one-off", { ...label("web"), "com.docker.compose.oneoff": "True" });
    await make("other-project", label("web", "other"));
    await make("only-created", {}, { state: "created" });
    docker.images.set("sha256:a", { id: "sha256:a", child: "sha256:b" });
    docker.images.set("sha256:b", { id: "sha256:b", tags: ["demo/b:1"], digests: ["demo/b@sha256:01"] });
    docker.images.set("sha256:c", { id: "sha256:c", digests: ["demo/c@sha256:02"] });
  }

  function assertOnly(of: Version): void {
    assert.deepEqual(names(), [...of.launches, "shop-db-1", "shop-web-1"].toSorted());
    assert.ok([...docker.containers.values()].every(({ madeBy }) => madeBy === of.name));
  }
  /** The one thing that must hold at any time, power cuts or not. */
  function assertMeasured(): void {
    assert.deepEqual(
      docker.starts.filter(({ madeBy, under }) => madeBy !== under),
      [],
    );
  }

  it("is gone once another version runs: containers, members of a swarm, plugins, networks, images; volumes stay", async () => {
    await leftovers();
    await boot(version("v2"));
    assertOnly(version("v2"));
    assertMeasured();
    assert.deepEqual((await readdir(root)).toSorted(), ["containers", "volumes"]);
    assert.equal(docker.images.size, 0, "also what is known by its digest: who is root can change what it holds");
    assert.ok(!docker.asked.some((what) => /volumes|[?&]v=/.test(what)), "no request touches a volume");
    assert.deepEqual(await readLastApp(recordPath, quietLog), {
      composeHash: hashOf(version("v2")),
      mayLeaveBehind: true,
    });
  });

  it("is gone after a change of the project's name, whatever labels it has", async () => {
    await leftovers();
    const renamed = version("v2", { project: { name: "dstack", services: ["web", "db"] }, launches: [] });
    await boot(renamed);
    assert.ok(
      [...docker.containers.values()].every(({ madeBy }) => madeBy === "v2"),
      names().join(),
    );
    assertMeasured();
  });

  it("is gone where the project is not known, once docker compose has taken what is its own", async () => {
    await leftovers();
    await boot(version("v2", { project: undefined, launches: [] }));
    assert.deepEqual(names(), ["shop-web-1"]);
    assertMeasured();
  });

  it("is gone before a script runs that docker compose has no part in", async () => {
    await leftovers();
    await assert.rejects(boot(version("v2", { isComposed: false, project: undefined }), { step: "up" }));
    assert.deepEqual(names(), []);
  });

  it("keeps its images where it had no powers to give them other names", async () => {
    await writeLastApp(recordPath, { composeHash: hashOf(version("v1")), mayLeaveBehind: false });
    await leftovers();
    await boot(version("v2"));
    assertOnly(version("v2"));
    assert.equal(docker.images.size, 3);
  });

  it("keeps its images where an update that gives no powers failed, so that the version put back needs no registry", async () => {
    const plain = { mayLeaveBehind: false, launches: [] };
    await writeLastApp(recordPath, { composeHash: hashOf(version("v1")), mayLeaveBehind: false });
    await leftovers();
    await assert.rejects(boot(version("v2", plain), { step: "the middle of up" }));
    await boot(version("v1", plain));
    assertMeasured();
    assertOnly(version("v1", plain));
    assert.equal(docker.images.size, 3);
  });

  it("comes back after a reboot of the same version, as Docker would have started it, after docker compose", async () => {
    await boot(version("v1"));
    const extra = { labels: {}, madeBy: "v1" };
    await docker.add({
      id: nextId(),
      name: "stopped-by-hand",
      policy: "unless-stopped",
      stoppedByHand: true,
      ...extra,
    });
    await docker.add({ id: nextId(), name: "always-stopped-by-hand", policy: "always", stoppedByHand: true, ...extra });
    await docker.add({ id: nextId(), name: "no-policy", ...extra });
    await docker.add({ id: "0aaa", name: "shares-a-network", policy: "always", needs: "0bbb", ...extra });
    await docker.add({ id: "0bbb", name: "network", policy: "on-failure", ...extra });
    await writeFile(join(root, "containers/0bbb/unread"), "");
    await mkdir(join(root, "containers/damaged"));
    docker.starts.length = 0;
    await boot(version("v1"));
    assert.deepEqual(running(), [
      "always-stopped-by-hand",
      "launched-by-v1",
      "network",
      "shares-a-network",
      "shop-db-1",
      "shop-web-1",
    ]);
    const order = docker.starts.map(({ name }) => name);
    assert.deepEqual(order.slice(0, 2), ["shop-web-1", "shop-db-1"]);
    assert.equal(order.filter((name) => name === "shop-web-1").length, 1, "what runs is not started twice");
    assert.ok(!docker.asked.some((what) => what.startsWith("DELETE") && what.includes("0aaa")));
  });

  it("does not come back, nor stay, where the version that runs has no powers, whatever the record says", async () => {
    const plain = version("v2", { mayLeaveBehind: false, launches: [] });
    await leftovers();
    await writeLastApp(recordPath, { composeHash: hashOf(plain), mayLeaveBehind: true });
    await boot(plain);
    for (const name of ["stowaway", "one-off", "other-project", "claims-a-removed-service", "only-created"])
      assert.ok(!names().includes(name), name);
    assert.ok(!existsSync(join(root, "swarm")) && !existsSync(join(root, "plugins")));
    assert.ok(existsSync(join(root, "network")), "containers that stay need their networks");
  });

  it("one that does not start again is no reason to end the app", async () => {
    await boot(version("v1"));
    docker.failures.set("/start", 500);
    await docker.add({ id: "0ccc", name: "broken", labels: {}, madeBy: "v1", policy: "always", needs: "none" });
    await boot(version("v1"));
    assert.ok(running().includes("launched-by-v1") && !running().includes("broken"));
  });

  it("goes at the next try where Docker refuses once, and ends the boot where it stays", async () => {
    await leftovers();
    docker.failures.set("DELETE /containers/", 409);
    docker.failures.set("DELETE /images/sha256:b", 409);
    await boot(version("v2"));
    assertOnly(version("v2"));
    const stuck = { id: "0ddd", name: "stuck", labels: {}, madeBy: "v2", policy: "always" };
    await docker.add(stuck);
    docker.remove = async () => undefined;
    await assert.rejects(boot(version("v3", { launches: [] })), {
      code: "docker-failed",
      message: /containers of an earlier version cannot be removed: .*stuck/,
    });
    assertMeasured();
  });

  it("goes also where there is much of it and Docker is slow", async () => {
    for (let i = 0; i < 500; i++)
      await docker.add({ id: nextId(), name: `many-${i}`, labels: {}, madeBy: "v1", policy: "always" });
    docker.delayMs = 5;
    await boot(version("v2"));
    assertOnly(version("v2"));
  });

  const cuts: readonly { readonly step?: string; readonly request?: number }[] = [
    ...["Docker", "up", "the middle of up", "the end"].map((step) => ({ step })),
    ...Array.from({ length: 24 }, (_, request) => ({ request })),
  ];
  for (const cut of cuts)
    it(`never runs under the next version's measurement, nor the next one's under its own: power cut at ${cut.step ?? `request ${cut.request}`}`, async () => {
      for (const after of ["v2", "v1", "v3"]) {
        await rm(folder, { recursive: true });
        await mkdir(folder);
        docker = new FakeDocker(root);
        await leftovers();
        await writeLastApp(recordPath, { composeHash: hashOf(version("v1")), mayLeaveBehind: true });
        await boot(version("v2"), cut).catch(() => undefined);
        assertMeasured();
        await boot(version(after));
        assertMeasured();
        assertOnly(version(after));
        docker.starts.length = 0;
        await boot(version(after));
        assertMeasured();
        assert.ok(running().includes(`launched-by-${after}`), "the next boot of the same version revives");
      }
    });
});
