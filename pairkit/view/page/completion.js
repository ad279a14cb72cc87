// One completion: its rank, all numbers, who wrote it, and its text or what of it differs from the chosen one.
import { make } from "./dom.js";
import { number, words } from "./format.js";
import { laidOut } from "./json.js";
import { block, inline, nodes } from "./text.js";

/** The text of a completion, its thought and its calls of tools. */
export function body(completion, hits) {
  const parts = [];
  if (completion.reasoning_content) {
    const thought = block(completion.reasoning_content, { hits, label: "thought" });
    parts.push(make("details", { class: "aside-text" }, make("summary", {}, "Thought"), thought));
  }
  parts.push(block(completion.text, { hits, label: "completion" }));
  if (completion.tool_calls) {
    parts.push(make("h4", { class: "label" }, "Tool calls"), code(completion.tool_calls));
  }
  return parts;
}

/** A text that is JSON as a rule, in lines. */
export function code(text) {
  const shown = block(laidOut(text), { label: "JSON" });
  shown.classList.add("code");
  // It scrolls, and so has to be reached with the keyboard.
  for (const [name, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", "JSON"]]) shown.setAttribute(name, value);
  return shown;
}

/** What differs from the chosen completion, word by word. */
export function difference(answer) {
  const text = make("div", { class: "text diff", dir: "auto" });
  for (const [kind, words_] of answer.segments) {
    const tag = { removed: "del", added: "ins" }[kind];
    if (tag) text.append(make(tag, {}, make("span", { class: "unseen" }, ` [${kind}: `), ...nodes(words_), make("span", { class: "unseen" }, "] ")));
    else text.append(...nodes(words_));
  }
  if (answer.exact) return [text];
  return [make("p", { class: "quiet note" }, "These texts are long: parts were compared as wholes."), text];
}

function fact(name, value) {
  return value === null || value === undefined || value === ""
    ? null
    : make("div", {}, make("dt", {}, name), make("dd", {}, value));
}

/** Who wrote it and how: model, temperature, finish reason, origin. */
export function facts(completion) {
  const sampling = completion.sampling ?? {};
  return make(
    "dl",
    { class: "facts" },
    fact("model", completion.model ? inline(completion.model) : null),
    fact("temperature", sampling.temperature ?? null),
    fact("top-p", sampling.top_p ?? null),
    fact("seed", sampling.seed ?? null),
    fact("finish", completion.finish_reason ? inline(completion.finish_reason) : null),
    fact("origin", completion.origin ? inline(completion.origin) : null),
    fact("characters", number([...completion.text].length)),
  );
}

/** The score that ranks it, and every named one. */
export function scores(completion) {
  const named = Object.entries(completion.scores ?? {});
  if (completion.score === null && !named.length) return null;
  const entry = (name, value, main) =>
    make("li", { class: main ? "main" : null }, make("span", {}, name), " ", make("b", {}, number(value)));
  return make(
    "ul",
    { class: "scores", "aria-label": "Scores" },
    completion.score === null ? null : entry("score", completion.score, true),
    named.map(([name, value]) => entry(inline(words(name)), value, false)),
  );
}
