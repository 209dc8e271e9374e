/**
 * Stands in for node:test inside a mutation worker: tests are collected instead of run, so that one
 * process can run any of them again and again, each time with another mutant switched on.
 */

/** The smallest piece that runs alone: one test, or a whole suite where hooks tie its tests together. */
export interface Unit {
  readonly id: string;
  readonly run: () => Promise<void>;
}

type Hook = () => unknown;
type Body = (context: Context) => unknown;
interface Options {
  readonly skip?: boolean | string;
  readonly todo?: boolean | string;
}

interface Suite {
  readonly name: string;
  readonly hooks: {
    readonly before: Hook[];
    readonly after: Hook[];
    readonly beforeEach: Hook[];
    readonly afterEach: Hook[];
  };
  readonly children: (Suite | { readonly name: string; readonly body: Body })[];
}

const newSuite = (name: string): Suite => ({
  name,
  hooks: { before: [], after: [], beforeEach: [], afterEach: [] },
  children: [],
});

let current = newSuite("");

/** Runs what imports a test file, and gives the tests that it declared. */
export async function collect(file: string, importFile: () => Promise<unknown>): Promise<Unit[]> {
  current = newSuite(file);
  const root = current;
  await importFile();
  return unitsOf(root, file);
}

class Context {
  readonly name: string;
  readonly #cleanup: Hook[] = [];
  readonly #abort = new AbortController();

  constructor(name: string) {
    this.name = name;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  async test(...args: Declaration): Promise<void> {
    const { name, options, body } = parse(args);
    if (!isSkipped(options)) await runBody(name, body);
  }

  after(hook: Hook): void {
    this.#cleanup.push(hook);
  }

  diagnostic(): void {
    /* Nobody reads it here. */
  }
  skip(): void {
    /* A test that skips itself returns next. */
  }

  async end(): Promise<void> {
    this.#abort.abort();
    for (const hook of this.#cleanup) await hook();
  }
}

type Declaration = readonly [name: string, optionsOrBody?: Options | Body, body?: Body];

export function test(...args: Declaration): Promise<void> {
  const { name, options, body } = parse(args);
  if (!isSkipped(options)) current.children.push({ name, body });
  return Promise.resolve();
}
test.skip = (): void => undefined;
test.todo = (): void => undefined;

export function describe(
  ...args: readonly [name: string, optionsOrBody?: Options | (() => unknown), body?: () => unknown]
): void {
  const { name, options, body } = parse(args as unknown as Declaration);
  if (isSkipped(options)) return;
  const outer = current;
  current = newSuite(name);
  outer.children.push(current);
  const done = (body as () => unknown)();
  if (done instanceof Promise) throw new Error(`suite "${name}" is asynchronous, which the mutation run does not know`);
  current = outer;
}
describe.skip = (): void => undefined;

export const it = test;
export const suite = describe;
export const before = (hook: Hook): void => void current.hooks.before.push(hook);
export const after = (hook: Hook): void => void current.hooks.after.push(hook);
export const beforeEach = (hook: Hook): void => void current.hooks.beforeEach.push(hook);
export const afterEach = (hook: Hook): void => void current.hooks.afterEach.push(hook);
export default test;

function parse([name, second, third]: Declaration): { name: string; options: Options; body: Body } {
  const body = typeof second === "function" ? second : third;
  return { name, options: typeof second === "object" ? second : {}, body: body ?? (() => undefined) };
}

const isSkipped = ({ skip = false, todo = false }: Options): boolean =>
  (skip !== false && skip !== undefined) || todo !== false;

function unitsOf(suiteNode: Suite, path: string): Unit[] {
  const { before: first, after: last, beforeEach: each, afterEach: eachAfter } = suiteNode.hooks;
  if (first.length + last.length + each.length + eachAfter.length > 0)
    return [{ id: path, run: () => runSuite(suiteNode) }];
  return suiteNode.children.flatMap((child) => {
    const id = `${path} > ${child.name}`;
    return "children" in child ? unitsOf(child, id) : [{ id, run: () => runBody(child.name, child.body) }];
  });
}

async function runSuite({ hooks, children }: Suite): Promise<void> {
  try {
    for (const hook of hooks.before) await hook();
    for (const child of children) {
      for (const hook of hooks.beforeEach) await hook();
      await ("children" in child ? runSuite(child) : runBody(child.name, child.body));
      for (const hook of hooks.afterEach) await hook();
    }
  } finally {
    for (const hook of hooks.after) await hook();
  }
}

async function runBody(name: string, body: Body): Promise<void> {
  const context = new Context(name);
  try {
    await body(context);
  } finally {
    await context.end();
  }
}
