/**
 * The reader of compose files and the guest image's own docker-compose side by side: each file is
 * accepted or refused by both, with the same services, images and published ports.
 */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ComposeError } from "@dstack/compose";
import { dockerFindings, findingText, portsOf, portText, readComposeFile } from "@dstack/compose/docker";
import { cacheDirectory } from "@dstack/files";
import { imagePackage } from "@dstack/image/builder";
import { ProcessError, run } from "@dstack/process";
import { ROOT } from "./workspaces.ts";

const CORPUS = join(ROOT, "libs/compose/test/corpus");
/** Files of others' making, where they lie beside the checkout. */
const REPORTED = join(ROOT, "../shared/vectors/compose");
const PROGRAM = "usr/libexec/docker/cli-plugins/docker-compose";

interface Reading {
  /** Undefined where the file is accepted. */
  readonly refusal: string | undefined;
  /** Image and published ports, sorted, by service that starts. */
  readonly services: Readonly<
    Record<string, { readonly image: string | undefined; readonly ports: readonly string[] }>
  >;
}

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "compose-"));
  const deb = await imagePackage({
    repoRoot: ROOT,
    cacheDir: join(cacheDirectory(process.env), "image-build"),
    name: "docker-compose",
  });
  await run("dpkg-deb", ["-x", deb, root], { timeoutMs: 60_000 });
});
after(() => rm(root, { recursive: true, force: true }));

describe("the corpus", () => {
  const files = globSync("*.yaml", { cwd: CORPUS }).sort();

  test("has files in the shapes that people use, and files that docker compose refuses", () => {
    const refused = files.filter((file) => file.startsWith("refused-")).length;
    assert.ok(files.length - refused >= 40, `${files.length - refused} accepted files`);
    assert.ok(refused >= 12, `${refused} refused files`);
  });

  for (const file of files)
    test(`${file} is read as docker compose reads it`, async () => {
      const { refusal } = await compare(join(CORPUS, file));
      assert.equal(refusal !== undefined, file.startsWith("refused-"), refusal ?? "accepted");
    });
});

describe("the files of reports", () => {
  const files = existsSync(REPORTED) ? globSync("**/*.{yaml,yml}", { cwd: REPORTED }).sort() : [];
  for (const file of files)
    test(`${file} is read as docker compose reads it`, async () => {
      await compare(join(REPORTED, file));
    });
});

/** Both readings, which must be one. */
async function compare(path: string): Promise<Reading> {
  const bytes = readFileSync(path);
  const [ours, theirs] = [ourReading(bytes), await dockerReading(bytes, basename(path))];
  assert.equal(
    ours.refusal === undefined,
    theirs.refusal === undefined,
    `docker compose: ${theirs.refusal ?? "accepted"}; here: ${ours.refusal ?? "accepted"}`,
  );
  assert.deepEqual(ours.services, theirs.services);
  return ours;
}

function ourReading(bytes: Uint8Array): Reading {
  try {
    const file = readComposeFile(bytes, { areAll: true });
    const [finding] = dockerFindings(file);
    if (finding !== undefined) return { refusal: findingText(finding), services: {} };
    const services = file.services
      .filter(({ active }) => active)
      .map((service) => [
        service.name,
        {
          image: service.image === undefined ? undefined : String(service.image.value),
          ports: portsOf(service).ports.map(portText).sort(),
        },
      ]);
    return { refusal: undefined, services: Object.fromEntries(services) as Reading["services"] };
  } catch (error) {
    if (error instanceof ComposeError) return { refusal: error.message, services: {} };
    throw error;
  }
}

/** What `docker-compose config` prints, in a folder of the name that it has in a guest, and no variable set. */
async function dockerReading(bytes: Uint8Array, name = "file"): Promise<Reading> {
  const folder = join(root, name, "dstack");
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "docker-compose.yaml"), bytes);
  try {
    const { stdout } = await run(join(root, PROGRAM), ["-f", "docker-compose.yaml", "config", "--format", "json"], {
      cwd: folder,
      env: { PATH: "/usr/bin:/bin", HOME: "/nonexistent" },
      timeoutMs: 30_000,
    });
    const { services } = JSON.parse(stdout) as { services: Record<string, DockerService> };
    const rows = Object.entries(services).map(([service, { image, ports = [] }]) => [
      service,
      { image, ports: ports.map(dockerPortText).sort() },
    ]);
    return { refusal: undefined, services: Object.fromEntries(rows) as Reading["services"] };
  } catch (error) {
    if (error instanceof ProcessError) return { refusal: error.stderr, services: {} };
    throw error;
  }
}

interface DockerPort {
  readonly host_ip?: string;
  readonly target: number;
  readonly published?: string;
  readonly protocol: string;
}
interface DockerService {
  readonly image?: string;
  readonly ports?: readonly DockerPort[];
}

function dockerPortText({ host_ip: hostIp, target, published, protocol }: DockerPort): string {
  const [from, to = from] = (published ?? "").split("-").map(Number);
  const range = published === undefined || from === undefined || to === undefined ? undefined : { from, to };
  return portText({ hostIp, target: { from: target, to: target }, published: range, protocol });
}
