import { adviceBox } from "./advice.js";
import { rpc } from "./api.js";
import { shownCompose, withCompose } from "./compose-text.js";
import { closeDialog, openDialog, toast } from "./dialogs.js";
import { element, field } from "./element.js";

const PAUSE_MS = 400;

/** Whether this page can change what the app runs: only the compose text within a manifest that has one. */
export const canUpdate = (vm) => composeOf(vm) !== undefined;

/** The form that gives a VM another compose file; all else in its manifest stays. */
export function openUpdateForm(vm, { onUpdated }) {
  const manifest = composeOf(vm);
  const compose = element("textarea", {
    name: "compose",
    rows: "14",
    required: true,
    spellcheck: "false",
    class: "code",
    value: shownCompose(manifest.docker_compose_file),
  });
  const advice = adviceBox();
  const problem = element("p", { class: "banner danger", role: "alert", hidden: true });
  const submit = element("button", { class: "primary", type: "submit" }, "Update");
  const before = vm.configuration.compose_file;
  // What is not in a request stays as it is: disks, ports, secrets.
  const request = () => ({ id: vm.id, compose_file: withCompose(before, compose.value) });
  let timer;
  const refresh = () => {
    clearTimeout(timer);
    timer = setTimeout(() => (compose.value.trim() === "" ? advice.clear() : advice.ask(request())), PAUSE_MS);
  };
  openDialog(
    element(
      "form",
      {
        class: "deploy",
        oninput: refresh,
        onsubmit: async (event) => {
          event.preventDefault();
          problem.hidden = true;
          if (request().compose_file === before) {
            closeDialog();
            toast(`nothing was changed, so ${vm.name} was not updated`);
            return;
          }
          submit.disabled = true;
          try {
            await rpc("UpdateVm", request());
            closeDialog();
            toast(`${vm.name} was updated; it takes effect at its next start`);
            await onUpdated();
          } catch (error) {
            problem.textContent = error.message;
            problem.hidden = false;
          } finally {
            submit.disabled = false;
          }
        },
      },
      element("h2", {}, `Update ${vm.name}`),
      field("docker-compose.yaml", compose),
      advice.node,
      element(
        "p",
        { class: "faint" },
        "App id, keys and data stay. Another compose file is another compose hash, which the policy must allow.",
      ),
      problem,
      element(
        "div",
        { class: "buttons" },
        element("button", { type: "button", onclick: closeDialog }, "Cancel"),
        submit,
      ),
    ),
  );
  refresh();
}

function composeOf(vm) {
  try {
    const manifest = JSON.parse(vm.configuration?.compose_file ?? "");
    return typeof manifest.docker_compose_file === "string" ? manifest : undefined;
  } catch {
    return undefined; // The VMM says itself what is wrong with a manifest that nobody can read.
  }
}
