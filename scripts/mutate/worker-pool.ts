import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { constants, setPriority } from "node:os";
import { fileURLToPath } from "node:url";
import type { FromWorker, Job, JobResult, Survey, ToWorker, WorkerStart } from "./protocol.ts";

const WORKER = fileURLToPath(new URL("./worker.ts", import.meta.url));
const LOAD_MS = 5 * 60_000;
/** Each load of the tests stays in memory, so a worker is replaced after this many. */
const MAX_RELOADS = 25;

/** One worker process that is replaced when a mutant has spoilt it. */
export class JudgeProcess {
  readonly #start: WorkerStart;
  #child: ChildProcess | undefined;
  #reloads = 0;

  constructor(start: WorkerStart) {
    this.#start = start;
  }

  async survey(): Promise<Survey> {
    const answer = await this.#ask({ kind: "survey" }, LOAD_MS);
    if (answer?.kind !== "surveyed") throw new Error(`the tests could not be surveyed: ${answer === undefined ? "no answer" : JSON.stringify(answer)}`);
    return answer.survey;
  }

  /** @param limitMs after which the worker counts as stuck in an endless loop */
  async judge(job: Job, limitMs: number): Promise<JobResult> {
    const first = await this.#judgeOnce(job, limitMs);
    if (first.poisoned !== true) return first;
    this.stop();
    const second = await this.#judgeOnce(job, limitMs);
    if (second.poisoned === true) this.stop();
    return second;
  }

  async #judgeOnce(job: Job, limitMs: number): Promise<JobResult> {
    const answer = await this.#ask({ kind: "job", job }, limitMs);
    if (answer?.kind !== "done") {
      this.stop();
      return { verdict: answer === undefined ? "timeout" : "killed", by: answer?.kind === "failed" ? answer.text.slice(0, 200) : "no answer in time" };
    }
    if (answer.result.reloaded === true) this.#reloads += 1;
    if (answer.result.spoilt === true || this.#reloads >= MAX_RELOADS) this.stop();
    return answer.result;
  }

  stop(): void {
    this.#child?.kill("SIGKILL");
    this.#child = undefined;
    this.#reloads = 0;
  }

  async #ask(message: ToWorker, limitMs: number): Promise<FromWorker | undefined> {
    const child = this.#child ?? await this.#spawn();
    const answer = answerOf(child, limitMs);
    child.send(message);
    return await answer;
  }

  async #spawn(): Promise<ChildProcess> {
    const child = fork(WORKER, [JSON.stringify(this.#start)], { stdio: ["ignore", "ignore", "inherit", "ipc"], execArgv: ["--no-warnings"], serialization: "advanced" });
    if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL);
    this.#child = child;
    const answer = await answerOf(child, LOAD_MS);
    if (answer?.kind !== "ready") {
      this.stop();
      throw new Error(`a worker did not start: ${answer?.kind === "failed" ? answer.text : "no answer"}`);
    }
    return child;
  }
}

/** The next message of a worker; undefined where it ends or stays silent too long. */
function answerOf(child: ChildProcess, limitMs: number): Promise<FromWorker | undefined> {
  const { promise, resolve } = Promise.withResolvers<FromWorker | undefined>();
  const onMessage = (message: unknown): void => resolve(message as FromWorker);
  const onExit = (): void => resolve(undefined);
  const timer = setTimeout(onExit, limitMs);
  child.once("message", onMessage);
  child.once("exit", onExit);
  return promise.finally(() => {
    clearTimeout(timer);
    child.off("message", onMessage);
    child.off("exit", onExit);
  });
}
