import { bootAdvice } from "./api.js";
import { element } from "./element.js";

/** A box that says whether the KMS would let this boot, and why not. */
export function adviceBox() {
  const node = element("div", { class: "advice", role: "status", hidden: true });
  let asked = 0;
  return {
    node,
    /** Asks about a deployment (`image`, `compose_file`) or an update (`id`, `compose_file`); the last question wins. */
    ask: async (question) => {
      const turn = ++asked;
      let advice;
      try {
        advice = await bootAdvice(question);
      } catch (error) {
        advice = { allowed: null, reason: error.message };
      }
      if (turn === asked) show(node, advice);
    },
    clear: () => {
      asked += 1;
      node.hidden = true;
    },
  };
}

function show(node, answer) {
  showPermission(node, answer);
  for (const line of answer.advice ?? []) node.append(element("p", {}, line));
}

function showPermission(node, { allowed, reason, rule, field, command }) {
  node.hidden = false;
  node.dataset.allowed = String(allowed);
  if (allowed === true) {
    node.replaceChildren(
      element("b", {}, "Allowed to boot"),
      " by the policy as it is now.",
      element("p", { class: "faint" }, reason),
    );
    return;
  }
  node.replaceChildren(
    element("b", {}, allowed === false ? "Not allowed to boot" : "Not known whether this may boot"),
    element("p", {}, reason),
    allowed === false && rule !== "" ? element("p", { class: "faint" }, `Rule ${rule}, field ${field}`) : "",
    command ? element("p", {}, "To allow it, where the policy is kept: ", element("code", {}, command)) : "",
    element(
      "p",
      { class: "faint" },
      allowed === false
        ? "The KMS decides when the VM boots; until the policy changes it will refuse."
        : "The KMS decides when the VM boots.",
    ),
  );
}
