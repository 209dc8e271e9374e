/**
 * The host's apt machinery (its methods, proxies and keyrings) with a configuration and
 * state of our own inside the cache folder. The user's sources and package lists are
 * neither read by apt here nor changed.
 */
import { access, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ProcessError, run } from "@dstack/process";
import { ImageError } from "../errors.ts";
import type { Mirror } from "./apt-mirror.ts";
import { readPackagesIndex, type PackagesIndex } from "./packages-index.ts";
import type { Recipe } from "./recipe.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

export interface Apt {
  /** Fetches and verifies the package lists. */
  update(): Promise<PackagesIndex>;
  /** Names and versions of what an installation of these packages on an empty system would unpack. */
  closure(packages: readonly string[]): Promise<{ name: string; version: string }[]>;
  /** Downloads `name=version` each into `dir`, under apt's own file names. */
  download(specs: readonly string[], dir: string): Promise<void>;
}

/** Prepares the private configuration under `dir`. @throws ImageError `no-mirror` */
export async function openApt(dir: string, mirror: Mirror, suites: Recipe["packages"]["suites"]): Promise<Apt> {
  await access(KEYRING).catch((cause: unknown) => {
    throw new ImageError("no-mirror", `${KEYRING} is missing: install the package debian-archive-keyring`, { cause });
  });
  await mkdir(join(dir, "lists/partial"), { recursive: true });
  await mkdir(join(dir, "archives/partial"), { recursive: true });
  const sources = suites.flatMap(({ name, archive }) => {
    const base = archive === "main" ? mirror.main : mirror.security;
    return base === undefined ? [] : [`deb [signed-by=${KEYRING}] ${base} ${name} main\n`];
  });
  await writeFile(join(dir, "sources.list"), sources.join(""));
  await writeFile(join(dir, "status"), "");
  await writeFile(join(dir, "apt.conf"), configuration(dir));
  const apt = (program: string, args: readonly string[], cwd?: string): ReturnType<typeof run> =>
    run(program, ["-c", join(dir, "apt.conf"), ...args], {
      timeoutMs: 15 * 60_000,
      env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
      ...(cwd === undefined ? {} : { cwd }),
    });
  return {
    update: async () => {
      await apt("apt-get", ["update", "-q"]).catch((error: unknown) => {
        throw new ImageError(
          "package-unavailable",
          `apt could not fetch the package lists from ${new URL(mirror.main).host}: ${detail(error)}; check the network, then run again`,
          { cause: error },
        );
      });
      return readPackagesIndex(join(dir, "lists"));
    },
    closure: async (packages) => {
      const { stdout } = await apt("apt-get", [
        "install",
        "--simulate",
        "--yes",
        "--no-install-recommends",
        ...packages,
      ]).catch((error: unknown) => {
        throw new ImageError("package-unavailable", `apt cannot resolve the image's packages: ${detail(error)}`, {
          cause: error,
        });
      });
      return [...stdout.matchAll(/^Inst (\S+) \((\S+) /gm)].map(([, name = "", version = ""]) => ({
        name: name.replace(/:amd64$/, ""),
        version,
      }));
    },
    download: async (specs, into) => {
      await apt("apt-get", ["download", "-q", ...specs], into).catch((error: unknown) => {
        throw new ImageError("package-unavailable", `apt could not download packages: ${detail(error)}`, {
          cause: error,
        });
      });
    },
  };
}

/** Whether lists were ever fetched into `dir`. */
export async function hasLists(dir: string): Promise<boolean> {
  return (await readdir(join(dir, "lists")).catch(() => [])).some((name) => name.endsWith("_Packages"));
}

function configuration(dir: string): string {
  return [
    `Dir::State "${dir}";`,
    `Dir::State::lists "${dir}/lists";`,
    `Dir::State::status "${dir}/status";`,
    `Dir::Cache "${dir}";`,
    `Dir::Cache::archives "${dir}/archives";`,
    `Dir::Etc::sourcelist "${dir}/sources.list";`,
    `Dir::Etc::sourceparts "/dev/null";`,
    `Dir::Etc::preferences "/dev/null";`,
    `Dir::Etc::preferencesparts "/dev/null";`,
    'APT::Architecture "amd64";',
    'APT::Architectures { "amd64"; };',
    'APT::Install-Recommends "false";',
    'APT::Sandbox::User "root";',
    'Acquire::Languages "none";',
    'Acquire::Check-Valid-Until "false";',
    'Acquire::GzipIndexes "false";',
    'Acquire::Retries "3";',
    "#clear APT::Update::Post-Invoke;",
    "#clear APT::Update::Post-Invoke-Success;",
    "#clear DPkg::Post-Invoke;",
    "#clear Acquire::IndexTargets;",
    'Acquire::IndexTargets::deb::Packages { MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages"; flatMetaKey "Packages"; ShortDescription "Packages"; Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages"; Optional "0"; };',
    "",
  ].join("\n");
}

function detail(error: unknown): string {
  const text = error instanceof ProcessError ? error.stderr : String(error);
  return (
    text
      .split("\n")
      .filter((line) => line.startsWith("E:"))
      .slice(0, 3)
      .join(" ") || text.trim().split("\n").slice(-2).join(" ")
  );
}
