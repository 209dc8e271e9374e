/**
 * Builds an element. Text children become text nodes, so nothing a guest or a user wrote is ever
 * read as HTML; `on*` members are listeners, the rest are attributes (false and undefined leave one out).
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** A label above a control, with a place for what is wrong with it. */
export function field(label, control, hint) {
  return element(
    "label",
    { class: "field" },
    element("span", {}, label),
    control,
    hint === undefined ? undefined : element("small", { class: "faint" }, hint),
  );
}

/** A button that cannot be pressed twice while its work runs. */
export function actionButton(label, work, attributes = {}) {
  const button = element(
    "button",
    {
      type: "button",
      ...attributes,
      onclick: async () => {
        button.disabled = true;
        try {
          await work();
        } finally {
          button.disabled = false;
        }
      },
    },
    label,
  );
  return button;
}
