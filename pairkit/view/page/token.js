// Asking for the token, where a link came without it.
import { setToken } from "./api.js";
import { byId, make } from "./dom.js";

/** Ask, and resolve when a token was given. */
export function askToken(refused) {
  const dialog = byId("ask-token");
  const input = make("input", { type: "password", autocomplete: "off", required: true, "aria-label": "Token", spellcheck: "false" });
  return new Promise((resolve) => {
    const form = make(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault();
          // The whole address may be pasted too.
          setToken(/token=([^&\s]+)/.exec(input.value)?.[1] ?? input.value);
          dialog.close();
          resolve();
        },
      },
      make("h2", { id: "token-title" }, "Token"),
      make("p", {}, refused ? "This token is not the one of the pairkit view that is running. " : "", "Links have no token. Paste the address, or the token in it, that ", make("code", {}, "pairkit view"), " has printed in the terminal."),
      make("div", { class: "line" }, input, make("button", { class: "primary" }, "Open")),
    );
    dialog.replaceChildren(form);
    dialog.oncancel = (event) => event.preventDefault();
    if (!dialog.open) dialog.showModal();
    input.focus();
  });
}
