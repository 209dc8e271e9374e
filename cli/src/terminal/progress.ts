export interface Progress {
  /** Runs one phase, says when it begins and how long it took, and keeps the figure. */
  phase<T>(name: string, work: (note: (text: string) => void) => Promise<T>): Promise<T>;
  /** Milliseconds by phase, in order. */
  readonly phasesMs: Readonly<Record<string, number>>;
}

const LOG_NOTE_EVERY_MS = 5_000;

/** Phases on standard error: one line each, with live notes on a terminal. */
export function createProgress(stream: NodeJS.WriteStream, now: () => number = () => performance.now()): Progress {
  const phasesMs: Record<string, number> = {};
  const live = stream.isTTY === true;
  return {
    phasesMs,
    phase: async (name, work) => {
      const started = now();
      let lastNote = "";
      let lastShown = Number.NEGATIVE_INFINITY;
      const note = (text: string): void => {
        if (text === lastNote) return;
        lastNote = text;
        // A log file wants the steps, not every percent.
        if (!live && now() - lastShown < LOG_NOTE_EVERY_MS) return;
        lastShown = now();
        if (live)
          stream.write(
            `\r\u001b[2K  … ${name}: ${text.slice(0, Math.max(20, (stream.columns ?? 80) - name.length - 8))}`,
          );
        else stream.write(`      ${name}: ${text}\n`);
      };
      stream.write(live ? `  … ${name}` : `  …   ${name}\n`);
      try {
        const result = await work(note);
        const elapsed = now() - started;
        phasesMs[name] = Math.round(elapsed);
        stream.write(`${live ? "\r\u001b[2K" : ""}  ok  ${name} (${(elapsed / 1000).toFixed(1)} s)\n`);
        return result;
      } catch (error) {
        phasesMs[name] = Math.round(now() - started);
        stream.write(`${live ? "\r\u001b[2K" : ""}  !!  ${name}\n`);
        throw error;
      }
    },
  };
}
