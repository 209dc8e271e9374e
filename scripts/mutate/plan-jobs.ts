import type { Mutant } from "./instrument.ts";
import type { Job, Survey } from "./protocol.ts";

/** A loop that comes by this many times as often as without mutants is endless. */
const HIT_FACTOR = 100;
const HIT_FLOOR = 20_000;
const TIME_FACTOR = 10;
const TIME_FLOOR_MS = 30_000;
const MAX_RELOAD_UNITS = 400;

/** Says for each mutant which tests judge it. */
export class JobPlanner {
  readonly #survey: Survey;
  /** Units by mutant, cheapest first. */
  readonly #units = new Map<string, Survey["units"][number][]>();
  /** Test files that reach a mutant while they load. */
  readonly #loadedBy = new Map<string, string[]>();
  /** Mutants of a source file, to find the tests of code that runs at load. */
  readonly #unitsOfFile = new Map<string, Set<Survey["units"][number]>>();
  readonly #fileOf: ReadonlyMap<string, string>;

  constructor(survey: Survey, mutants: readonly Mutant[]) {
    this.#survey = survey;
    this.#fileOf = new Map(mutants.map(({ id, file }) => [id, file]));
    for (const unit of survey.units.toSorted((a, b) => a.ms - b.ms)) {
      for (const id of Object.keys(unit.hits)) {
        push(this.#units, id, unit);
        const file = this.#fileOf.get(id);
        if (file !== undefined) this.#unitsOfFile.set(file, (this.#unitsOfFile.get(file) ?? new Set()).add(unit));
      }
    }
    for (const [file, hits] of Object.entries(survey.files))
      for (const id of Object.keys(hits)) push(this.#loadedBy, id, file);
  }

  /** @returns undefined for a mutant that no test reaches */
  plan(mutant: string): Job | undefined {
    const units = this.#units.get(mutant) ?? [];
    const reload = this.#reload(mutant);
    if (units.length === 0 && reload === undefined) return undefined;
    const inPlace = units.map(({ id, ms, hits }) => ({
      id,
      hitLimit: (hits[mutant] ?? 0) * HIT_FACTOR + HIT_FLOOR,
      limitMs: limitOf(ms),
    }));
    return { mutant, inPlace, ...(reload === undefined ? {} : { reload }) };
  }

  /** Code that runs while modules load shows its mutants only in a fresh load. */
  #reload(mutant: string): Job["reload"] {
    const loaders = this.#loadedBy.get(mutant) ?? [];
    const atLoad = this.#survey.loading[mutant] !== undefined;
    if (!atLoad && loaders.length === 0) return undefined;
    const near = atLoad ? [...(this.#unitsOfFile.get(this.#fileOf.get(mutant) ?? "") ?? [])] : [];
    const units = [...near, ...this.#survey.units.filter(({ file }) => loaders.includes(file))]
      .toSorted((a, b) => a.ms - b.ms)
      .slice(0, MAX_RELOAD_UNITS);
    const unique = [...new Set(units)];
    return {
      files: [...new Set(unique.map(({ file }) => file))],
      units: unique.map(({ id }) => id),
      limitMs: limitOf(Math.max(0, ...unique.map(({ ms }) => ms))),
    };
  }
}

const limitOf = (ms: number): number => ms * TIME_FACTOR + TIME_FLOOR_MS;

function push<T>(map: Map<string, T[]>, key: string, item: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [item]);
  else list.push(item);
}
