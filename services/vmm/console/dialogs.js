import { element } from "./element.js";

const dialog = () => document.getElementById("dialog");

/** Shows content in the page's one dialog; closing by Escape counts as cancelling. */
export function openDialog(content, onClose = () => undefined) {
  const node = dialog();
  node.replaceChildren(content);
  node.addEventListener("close", onClose, { once: true });
  node.showModal();
}

export const closeDialog = () => dialog().close();

/** Asks before something that cannot be undone. Resolves to whether to go on. */
export function confirmAction({ title, text, action }) {
  return new Promise((resolve) => {
    let answer = false;
    const go = element(
      "button",
      {
        type: "button",
        class: "danger",
        onclick: () => {
          answer = true;
          closeDialog();
        },
      },
      action,
    );
    openDialog(
      element(
        "div",
        { class: "confirm" },
        element("h2", {}, title),
        element("p", {}, text),
        element(
          "div",
          { class: "buttons" },
          element("button", { type: "button", onclick: closeDialog, autofocus: true }, "Cancel"),
          go,
        ),
      ),
      () => resolve(answer),
    );
  });
}

const TOAST_MS = 5_000;

/** A short message; errors stay until they are closed. */
export function toast(text, kind = "good") {
  const node = element(
    "div",
    { class: `toast ${kind}` },
    element("span", {}, text),
    element("button", { type: "button", class: "plain", "aria-label": "Close", onclick: () => node.remove() }, "×"),
  );
  document.getElementById("toasts").append(node);
  if (kind !== "danger") setTimeout(() => node.remove(), TOAST_MS);
}

/** Does the work and says how it went. */
export async function attempt(what, work) {
  try {
    const result = await work();
    toast(what);
    return result;
  } catch (error) {
    toast(error.message, "danger");
    return undefined;
  }
}
