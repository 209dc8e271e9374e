/** A fetch that reads no more than it should, whatever is sent, and follows nobody elsewhere. */
export function boundedFetch(maxBytes: number): typeof fetch {
  return async (input, init) => {
    const response = await fetch(input, { ...init, redirect: "error" });
    const parts: Uint8Array[] = [];
    let total = 0;
    for await (const part of response.body ?? []) {
      total += part.byteLength;
      if (total > maxBytes) throw new Error(`answer of more than ${maxBytes} bytes`);
      parts.push(part);
    }
    return new Response(Buffer.concat(parts), {
      status: response.status,
      statusText: response.statusText,
      headers: response.headers,
    });
  };
}
