// The keyboard: one key each, except while one types; they can be switched off, because speech input types them too.
import { byId, make } from "./dom.js";

const STORED = "pairkit-keys";

const on = () => localStorage.getItem(STORED) !== "off";

const typing = (element) =>
  element?.closest("textarea, select, input:not([type=checkbox])") !== null && element?.closest("textarea, select, input:not([type=checkbox])") !== undefined;

/**
 * Listen. `keys` are rows [key, what it does, run, group], where key is as KeyboardEvent names it, "Alt+" before it
 * where that is held.
 */
export function listen(keys) {
  const byKey = new Map(keys.map(([key, , run]) => [key, run]));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return; // the browser closes it with Escape
    const key = (event.altKey ? "Alt+" : "") + event.key;
    const run = byKey.get(key);
    if (!run || (event.key !== "Escape" && (typing(event.target) || !on()))) return;
    if (event.key === "Enter" && event.target.closest("button, a, summary, input, [role=slider], [role=listbox]")) return;
    event.preventDefault();
    run(event);
  });
}

const NAMES = { ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" };
const shown = (key) => key.split("+").map((part) => make("kbd", {}, NAMES[part] ?? part));

/** Fill the dialog that lists the keys. */
export function fillHelp(keys) {
  const groups = [...new Set(keys.map(([, , , group]) => group))];
  const table = (group) => [
    make("h3", {}, group),
    make(
      "dl",
      { class: "keys" },
      keys.filter((row) => row[3] === group && row[1]).map(([key, words]) => make("div", {}, make("dt", {}, shown(key)), make("dd", {}, words))),
    ),
  ];
  const box = make("input", { type: "checkbox", onchange: () => localStorage.setItem(STORED, box.checked ? "on" : "off") });
  box.checked = on();
  byId("help").replaceChildren(
    make("form", { method: "dialog", class: "dialog-head" }, make("h2", { id: "help-title" }, "Keyboard"), make("button", { class: "close" }, "Close")),
    make("div", { class: "key-groups" }, groups.map((group) => make("section", {}, table(group)))),
    make("p", {}, make("label", {}, box, "Single keys do this (Escape always does)")),
    make("p", { class: "quiet" }, "In a histogram: drag, or Tab to one of its ends and move it with the arrow keys. The address holds what you see, without the token: it can be sent to whoever has the token of this start."),
  );
}
