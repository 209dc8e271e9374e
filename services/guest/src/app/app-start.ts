import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { utf8 } from "@dstack/bytes";
import { ComposeError, type AppCompose } from "@dstack/compose";
import type { Logger } from "@dstack/log";
import { ProcessError } from "@dstack/process";
import { errorChain } from "@dstack/errors";
import { listContainers, type DockerApi } from "./docker-api.ts";
import { GuestError } from "../errors.ts";
import type { RunProgram } from "../system/run-program.ts";

export interface AppStartOptions {
  readonly compose: AppCompose;
  /** Where docker-compose.yaml lies; also the project's name. */
  readonly folder: string;
  readonly variables: ReadonlyMap<string, string>;
  readonly pccsUrl: string | undefined;
  /** Whether containers of an earlier boot are replaced even where nothing of them seems to have changed. */
  readonly recreates: boolean;
  readonly run: RunProgram;
  readonly onProgress: (text: string) => void;
}

export const COMPOSE_FILE = "docker-compose.yaml";
const START_TIMEOUT_MS = 3_600_000;
const STOP_TIMEOUT_MS = 60_000;

/** Puts the manifest's compose file where Docker looks for it. */
export async function writeComposeFile(compose: AppCompose, folder: string): Promise<void> {
  if (compose.runner === "docker-compose")
    await writeFile(join(folder, COMPOSE_FILE), compose.dockerComposeFile ?? "", { mode: 0o600 });
}

/**
 * Starts the app: its pre-launch script in the shell that then starts the containers, so that
 * the script can set variables for them.
 * @throws GuestError `app-failed`
 */
export async function startApp(options: AppStartOptions): Promise<void> {
  const { compose, folder } = options;
  const script: string[] = ["set -euo pipefail"];
  if (compose.preLaunchScript !== undefined) {
    const file = join(folder, ".pre-launch.sh");
    await writeFile(file, compose.preLaunchScript, { mode: 0o600 });
    await chmod(file, 0o700);
    options.onProgress("pre-launch");
    script.push(`source ${file}`);
  }
  if (compose.runner === "docker-compose") {
    options.onProgress("starting containers");
    // Compose itself: by way of the docker command it would be loaded twice.
    const recreate = options.recreates ? " --force-recreate" : "";
    script.push(`exec docker-compose -f ${COMPOSE_FILE} up --remove-orphans --detach${recreate}`);
    await runScript(options, script, "failed to start containers");
  } else {
    options.onProgress("running main script");
    const file = join(folder, ".main.sh");
    await writeFile(file, compose.bashScript ?? "", { mode: 0o600 });
    script.push(`exec bash < ${file}`);
    await runScript(options, script, "the app's script failed");
  }
}

/** Runs the manifest's init scripts in one shell, in order, before Docker and the agent are there. */
export async function runInitScripts(
  compose: AppCompose,
  options: { readonly folder: string; readonly mountPoint: string; readonly run: RunProgram },
): Promise<void> {
  const script = ["set -e"];
  for (const [i, text] of compose.initScripts.entries()) {
    const file = join(options.folder, `.init-${i}.sh`);
    await writeFile(file, text, { mode: 0o600 });
    script.push(`source ${file}`);
  }
  try {
    await options.run("bash", ["-c", script.join("\n")], {
      cwd: options.folder,
      env: { ...baseEnvironment(), WORK_DIR: options.folder, DATA_MNT: options.mountPoint },
      timeoutMs: START_TIMEOUT_MS,
    });
  } catch (cause) {
    throw new GuestError("app-failed", "an init script of the app failed", { cause });
  }
}

/**
 * Stops the app's containers in order; they and their volumes stay. Containers that the app started by itself are left
 * to Docker's own end: stopped by hand, they would not come back by their restart policy.
 */
export async function stopApp(docker: DockerApi, folder: string, run: RunProgram, log: Logger): Promise<void> {
  try {
    for (const name of await projectsOf(docker, join(folder, COMPOSE_FILE))) {
      // By its name, docker compose takes the project from its containers: the file may need variables that a script set.
      await run("docker-compose", [`--project-name=${name}`, "stop", "--timeout", "10"], {
        cwd: folder,
        env: baseEnvironment(),
        timeoutMs: STOP_TIMEOUT_MS,
      });
    }
  } catch (error) {
    log.warn({ error: errorChain(error) }, "the containers did not stop in order");
  }
}

const RUNNING: ReadonlySet<string> = new Set(["running", "paused", "restarting"]);

/** Names of the projects that were made from the file: one, unless a script renames it. */
async function projectsOf(docker: DockerApi, file: string): Promise<ReadonlySet<string>> {
  const names = (await listContainers(docker))
    .filter(({ state, labels }) => RUNNING.has(state) && labels["com.docker.compose.project.config_files"] === file)
    .map(({ labels }) => labels["com.docker.compose.project"]);
  return new Set(names.filter((name) => typeof name === "string"));
}

/**
 * Frees what nothing uses: images of earlier versions, anonymous volumes of removed containers.
 * Nothing of an app that is not understood: what it does not use now it may use later.
 */
export async function pruneDocker(docker: DockerApi, isUnderstood: boolean, log: Logger): Promise<void> {
  if (!isUnderstood) return;
  for (const path of [`/images/prune?filters=${encodeURIComponent('{"dangling":["false"]}')}`, "/volumes/prune"]) {
    try {
      await docker.call("POST", path, 600_000);
    } catch (error) {
      log.warn({ error: errorChain(error) }, "unused images or volumes were not removed");
    }
  }
}

async function runScript(options: AppStartOptions, script: readonly string[], failure: string): Promise<void> {
  const env = {
    ...baseEnvironment(),
    ...(options.pccsUrl === undefined ? {} : { PCCS_URL: options.pccsUrl }),
    ...Object.fromEntries(options.variables),
  };
  try {
    await options.run("bash", ["-c", script.join("\n")], { cwd: options.folder, env, timeoutMs: START_TIMEOUT_MS });
  } catch (cause) {
    const stderr = cause instanceof ProcessError ? cause.stderr : "";
    const output = lastWords(stderr);
    if (output === "") throw new GuestError("app-failed", failure, { cause });
    throw new GuestError("app-failed", [failure, ...(await failedPulls(options, stderr)), output].join(": "));
  }
}

/** Docker names the service whose image it could not get, and not always the image: operators know the image. */
async function failedPulls({ compose, variables }: AppStartOptions, stderr: string): Promise<readonly string[]> {
  if (compose.runner !== "docker-compose") return [];
  const { listImages, readComposeFile } = await import("@dstack/compose/docker");
  const words = plainLines(stderr);
  try {
    return listImages(readComposeFile(utf8(compose.dockerComposeFile ?? ""), { variables }))
      .filter(({ service }) => words.some((line) => line.includes(`${service} Error `)))
      .map(({ service, image }) => `image ${image ?? `of ${service}`} cannot be pulled`);
  } catch (error) {
    if (error instanceof ComposeError) return [];
    throw error;
  }
}

/** What Docker says of a pull that goes on, or that another failure ended. */
const PULL_STATES = [
  "Pulling",
  "Pulling fs layer",
  "Waiting",
  "Downloading",
  "Extracting",
  "Verifying Checksum",
  "Download complete",
  "Pull complete",
  "Interrupted",
  "Already exists",
];
const PROGRESS = new RegExp(`(?:^|\\s)(?:${PULL_STATES.join("|")})\\b[^:]*$`);

/** The end of what a program said, without colours and progress. */
export function lastWords(stderr: string, maxLength = 1_500): string {
  const lines = plainLines(stderr).filter((line) => !PROGRESS.test(line));
  return [...new Set(lines)].slice(-12).join("; ").slice(-maxLength);
}

const plainLines = (text: string): readonly string[] =>
  text
    .replaceAll(/\u001b\[[0-9;?]*[A-Za-z]/g, "")
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line !== "");

const baseEnvironment = (): NodeJS.ProcessEnv => ({
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
  LANG: "C.UTF-8",
});
