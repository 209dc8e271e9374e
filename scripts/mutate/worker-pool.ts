import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { constants, setPriority } from "node:os";
import { fileURLToPath } from "node:url";
import type { FromWorker, Job, JobResult, Survey, ToWorker, WorkerStart } from "./protocol.ts";

const WORKER = fileURLToPath(new URL("./worker.ts", import.meta.url));
/** No test and no load takes that long, also where the machine is busy with other things. */
const SILENCE_MS = 90_000;
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
    const answer = await this.#ask({ kind: "survey" });
    if (answer?.kind !== "surveyed")
      throw new Error(
        `the tests could not be surveyed: ${answer === undefined ? "no answer" : JSON.stringify(answer)}`,
      );
    return answer.survey;
  }

  async judge(job: Job): Promise<JobResult> {
    const first = await this.#judgeOnce(job);
    if (first.poisoned !== true) return first;
    this.stop();
    const second = await this.#judgeOnce(job);
    if (second.poisoned === true) this.stop();
    return second;
  }

  async #judgeOnce(job: Job): Promise<JobResult> {
    const answer = await this.#ask({ kind: "job", job });
    if (answer?.kind !== "done") {
      this.stop();
      return {
        verdict: answer === undefined ? "timeout" : "killed",
        by: answer?.kind === "failed" ? answer.text.slice(0, 200) : "no answer in time",
      };
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

  async #ask(message: ToWorker): Promise<FromWorker | undefined> {
    const child = this.#child ?? (await this.#spawn());
    const answer = answerOf(child);
    child.send(message);
    return await answer;
  }

  async #spawn(): Promise<ChildProcess> {
    const child = fork(WORKER, [JSON.stringify(this.#start)], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      execArgv: ["--no-warnings"],
      serialization: "advanced",
    });
    if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL);
    this.#child = child;
    const answer = await answerOf(child);
    if (answer?.kind !== "ready") {
      this.stop();
      throw new Error(`a worker did not start: ${answer?.kind === "failed" ? answer.text : "no answer"}`);
    }
    return child;
  }
}

/** The next answer of a worker; undefined where it ends or stays silent too long. */
function answerOf(child: ChildProcess): Promise<FromWorker | undefined> {
  const { promise, resolve } = Promise.withResolvers<FromWorker | undefined>();
  const onExit = (): void => resolve(undefined);
  const timer = setTimeout(onExit, SILENCE_MS);
  const onMessage = (message: unknown): void => {
    const said = message as FromWorker;
    if (said.kind === "alive") timer.refresh();
    else resolve(said);
  };
  child.on("message", onMessage);
  child.once("exit", onExit);
  return promise.finally(() => {
    clearTimeout(timer);
    child.off("message", onMessage);
    child.off("exit", onExit);
  });
}
