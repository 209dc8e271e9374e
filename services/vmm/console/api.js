/** Calls to the VMM that serves this page. */

/** One method of the Vmm service. Throws an Error with the VMM's own text. */
export async function rpc(method, body = {}) {
  return post(`/prpc/${method}?json`, body);
}

/** One method of a guest, through the VMM. */
export async function guest(method, id) {
  return post(`/guest/${method}?json`, { id });
}

/** Whether the policy would let this boot: advice of the VMM, `allowed` is null where it cannot tell. */
export async function bootAdvice(question) {
  return post("/boot-advice", question);
}

/** The text of a log as it grows, until `signal` aborts. */
export async function followLog({ id, channel, lines, signal, onText }) {
  const query = new URLSearchParams({ id, ch: channel, lines: String(lines), follow: "true", ansi: "false" });
  const response = await fetch(`/logs?${query}`, { signal });
  if (!response.ok) throw new Error(await response.text());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onText(value);
  }
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (response.ok) return text === "" ? null : JSON.parse(text);
  throw new Error(errorText(text) ?? `the VMM answered with status ${response.status}`);
}

function errorText(text) {
  try {
    const { error } = JSON.parse(text);
    return typeof error === "string" ? error : undefined;
  } catch {
    return text.trim() === "" ? undefined : text.trim();
  }
}
