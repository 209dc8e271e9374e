const LF = 0x0a;

export interface LineSplitter {
  /** Takes the next bytes; calls back once for each complete line, and once for each line that was too long. */
  push(chunk: Uint8Array): void;
  /** Forgets a line begun. */
  reset(): void;
}

/**
 * Cuts a byte stream into lines of at most `maxBytes`, holding no more than that. A longer line
 * is skipped up to its LF, so that one bad line costs only itself.
 */
export function lineSplitter(
  maxBytes: number,
  onLine: (line: Uint8Array) => void,
  onTooLong: () => void,
): LineSplitter {
  let parts: Uint8Array[] = [];
  let length = 0;
  let skipping = false;
  const add = (piece: Uint8Array): void => {
    if (skipping || piece.length === 0) return;
    if (length + piece.length > maxBytes) {
      skipping = true;
      parts = [];
      length = 0;
      onTooLong();
      return;
    }
    // A copy: the stream may use its buffer again.
    parts.push(piece.slice());
    length += piece.length;
  };
  const reset = (): void => {
    parts = [];
    length = 0;
    skipping = false;
  };
  return {
    push: (chunk) => {
      let rest = chunk;
      for (let end = rest.indexOf(LF); end !== -1; end = rest.indexOf(LF)) {
        add(rest.subarray(0, end));
        const line =
          skipping || length === 0
            ? undefined
            : parts.length === 1
              ? parts[0]
              : new Uint8Array(Buffer.concat(parts, length));
        reset();
        if (line !== undefined) onLine(line);
        rest = rest.subarray(end + 1);
      }
      add(rest);
    },
    reset,
  };
}
