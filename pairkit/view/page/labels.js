// Labeling a set: accept its order, change it, tie, flag with a note, clear. Every change is saved at once.
import { post } from "./api.js";
import { make, say } from "./dom.js";
import { draggable } from "./drag.js";
import { equal, moved, placed, tied } from "./order.js";
import { inline } from "./text.js";

const SAID = {
  accept: "Accepted as it is",
  order: "Ordered",
  tie: "All tied",
  flag: "Flagged",
  clear: "Label cleared",
};

/** Make the bar of buttons. onOrder(order) shows another order; onSaved(set, label, newest) takes what was saved, and returns the order shown. */
export function createLabels({ onOrder, onSaved, onProblem }) {
  let set = null;
  let order = null;
  let saving = Promise.resolve(); // one after another: the file has the labels in the order of the clicks
  let latest = 0; // what was saved, or is to be saved, last
  const status = make("p", { class: "label-status", role: "status" });
  const note = make("textarea", { rows: "2", maxlength: "10000", "aria-label": "Note of the flag", placeholder: "What is wrong with it? (optional)" });
  const flagForm = make(
    "form",
    {
      class: "flag-form",
      hidden: true,
      onsubmit: (event) => {
        event.preventDefault();
        flagForm.hidden = true;
        save("flag", null, note.value.trim() || null);
      },
      onkeydown: (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) flagForm.requestSubmit();
        if (event.key !== "Escape") return;
        flagForm.hidden = true;
        event.stopPropagation();
        buttons.flag.focus();
      },
    },
    note,
    make("button", { type: "submit", class: "primary" }, "Flag"),
  );
  const button = (action, words, key) =>
    make("button", { type: "button", onclick: () => act(action) }, `${words} `, make("kbd", { "aria-hidden": "true" }, key));
  const buttons = {
    accept: button("accept", "Accept", "a"),
    tie: button("tie", "Tie all", "t"),
    flag: button("flag", "Flag", "f"),
    clear: button("clear", "Clear", "x"),
  };
  const element = make("div", { class: "labeling", role: "group", "aria-label": "Your label" }, Object.values(buttons), status, flagForm);

  function open(next, first) {
    [set, order] = [next, first];
    flagForm.hidden = true;
    note.value = "";
    tell(set.label);
  }

  function tell(label) {
    for (const [action, each] of Object.entries(buttons)) {
      if (action !== "clear") each.setAttribute("aria-pressed", label?.kind === action ? "true" : "false");
    }
    buttons.clear.disabled = !label;
    const parts = label ? [SAID[label.kind] ?? label.kind, label.note ? [": ", inline(label.note)] : null] : ["Not labeled yet"];
    status.replaceChildren(...parts.flat().filter(Boolean));
  }

  function save(action, groups = null, words = null) {
    const asked = set;
    const number = (latest += 1);
    const taken = (label) => {
      asked.label = label;
      order = onSaved(asked, label, number === latest);
      if (set.row === asked.row) tell(label);
    };
    saving = saving.then(async () => {
      let answer;
      try {
        answer = await post("/api/annotations", { set_id: asked.set_id, action, order: groups, note: words });
      } catch (error) {
        // What was not saved must not look as if it were.
        taken(asked.label);
        onProblem(error);
        return;
      }
      taken(answer.label ?? null);
      say(`${SAID[action]}. Saved.`);
    // Whatever goes wrong with one, the next ones are saved.
    }).catch(onProblem);
  }

  function change(next) {
    if (equal(next, order)) return;
    order = next;
    onOrder(order);
    save("order", order.groups);
  }

  function act(action, position) {
    if (action === "flag") {
      flagForm.hidden = false;
      note.value = set.label?.note ?? "";
      note.focus();
    } else if (action === "up") change(moved(order, position, -1));
    else if (action === "down") change(moved(order, position, 1));
    else if (action === "same") change(tied(order, position));
    else if (action !== "clear" || set.label) save(action);
  }

  /** The handle to drag a completion by, and buttons that move it. */
  function controls(position) {
    const control = (action, sign, label) =>
      make("button", { type: "button", class: "small", title: label, "aria-label": label, onclick: () => act(action, position) }, sign);
    const handle = make("span", { class: "handle-drag", title: "Drag to another place", "aria-hidden": "true" }, "⠿");
    draggable(handle, (before) => change(placed(order, position, before)));
    return make(
      "span",
      { class: "moves" },
      control("up", "↑", "Move up (Alt+↑)"),
      control("down", "↓", "Move down (Alt+↓)"),
      control("same", "=", "Tie with the one above, or untie (=)"),
      handle,
    );
  }

  return { element, open, act, controls };
}
