/** Programs of ours, each as one file for the pinned runtime: the guest's, and services for container images. */
import { access } from "node:fs/promises";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";
import { ImageError } from "../errors.ts";

/**
 * Bundles one entry point to ESM for the pinned Node. Paths in the output are relative, so the checkout's place does not
 * show.
 * @throws ImageError `build-failed`
 */
export async function bundleProgram(repoRoot: string, entry: string): Promise<Uint8Array> {
  await access(join(repoRoot, entry)).catch((cause: unknown) => {
    throw new ImageError("build-failed", `${entry} is missing`, { cause });
  });
  const result = await build({
    absWorkingDir: repoRoot,
    entryPoints: [entry],
    bundle: true,
    platform: "node",
    target: "node26",
    format: "esm",
    write: false,
    legalComments: "none",
    minifySyntax: true,
    minifyWhitespace: true,
    // CommonJS packages inside an ESM bundle still ask for node: builtins through require.
    banner: { js: 'const require=process.getBuiltinModule("node:module").createRequire(import.meta.url);' },
    plugins: [lazyBuiltins],
    logLevel: "silent",
  }).catch((cause: unknown) => {
    throw new ImageError(
      "build-failed",
      `bundling ${entry} failed: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  });
  const [file] = result.outputFiles;
  if (file === undefined) throw new ImageError("build-failed", `bundling ${entry} gave no output`);
  return file.contents;
}

/**
 * Takes builtins by `process.getBuiltinModule` instead of `import`. An import reads every
 * export of the builtin at start, and some of those load half of Node (http's WebSocket
 * brings undici): a sixth of the guest's start, which counts under emulation.
 */
const lazyBuiltins: Plugin = {
  name: "lazy-builtins",
  setup: (bundler) => {
    bundler.onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === "dynamic-import" ? undefined : { path, namespace: "builtin" },
    );
    bundler.onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
      loader: "js",
    }));
  },
};
