import { followLog } from "./api.js";
import { element } from "./element.js";

const MAX_CHARS = 400_000;
const FIRST_LINES = 500;

/** A log that follows its VM: channel choice, pause, search. `close` ends it. */
export function logView(id) {
  const output = element("pre", { class: "log", tabindex: "0", "aria-label": "Log" });
  const search = element("input", {
    type: "search",
    placeholder: "Filter lines",
    "aria-label": "Filter lines",
    oninput: () => show(),
  });
  const pause = element(
    "button",
    {
      type: "button",
      "aria-pressed": "false",
      onclick: () => {
        paused = !paused;
        pause.setAttribute("aria-pressed", String(paused));
        pause.textContent = paused ? "Resume" : "Pause";
        if (!paused) show();
      },
    },
    "Pause",
  );
  const channels = element(
    "select",
    { "aria-label": "Which log", onchange: () => follow() },
    ["serial", "stdout", "stderr"].map((name) => element("option", { value: name }, name)),
  );
  let text = "";
  let paused = false;
  let stop = new AbortController();
  let scheduled = false;

  const show = () => {
    scheduled = false;
    if (paused) return;
    const wanted = search.value.toLowerCase();
    const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
    output.textContent =
      wanted === ""
        ? text
        : text
            .split("\n")
            .filter((line) => line.toLowerCase().includes(wanted))
            .join("\n");
    if (atEnd) output.scrollTop = output.scrollHeight;
  };

  const follow = async () => {
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    text = "";
    show();
    while (!signal.aborted) {
      try {
        await followLog({
          id,
          channel: channels.value,
          lines: FIRST_LINES,
          signal,
          onText: (piece) => {
            if (signal.aborted) return;
            text = (text + piece.replace(/\[vmm heartbeat\]\n/g, "").replace(/\r/g, "")).slice(-MAX_CHARS);
            if (scheduled) return;
            scheduled = true;
            requestAnimationFrame(show);
          },
        });
      } catch (error) {
        if (signal.aborted) return;
        text += `\n(${error.message})\n`;
        show();
      }
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      if (!signal.aborted) text = "";
    }
  };

  const link = element(
    "a",
    { target: "_blank", rel: "noopener", href: `/logs?${new URLSearchParams({ id, lines: "10000" })}` },
    "Plain text",
  );
  void follow();
  return {
    node: element(
      "section",
      { class: "card" },
      element(
        "div",
        { class: "head" },
        element("h3", {}, "Log"),
        element("div", { class: "tools" }, channels, search, pause, link),
      ),
      output,
    ),
    close: () => stop.abort(),
  };
}
