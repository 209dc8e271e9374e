/** Runs a command without its words on the terminal; gives them with the exit code. */
export async function captured(
  run: () => Promise<number | void>,
): Promise<{ readonly code: number; readonly text: string }> {
  const { stdout, stderr } = process;
  const [out, error] = [stdout.write, stderr.write];
  let text = "";
  const keep = (chunk: string): boolean => {
    text += chunk;
    return true;
  };
  // Bytes are the test runner's own messages.
  stdout.write = ((chunk: string | Uint8Array, ...rest: []) =>
    typeof chunk === "string" ? keep(chunk) : out.call(stdout, chunk, ...rest)) as typeof stdout.write;
  stderr.write = ((chunk: string) => keep(chunk)) as typeof stderr.write;
  try {
    return { code: (await run()) ?? 0, text };
  } finally {
    [stdout.write, stderr.write] = [out, error];
  }
}
