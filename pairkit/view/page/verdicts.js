// What judges were asked about a set, and what they answered.
import { make } from "./dom.js";
import { plural } from "./format.js";
import { block, inline } from "./text.js";

/** The section; null where no judge was asked. onPosition(position) goes to a completion. */
export function verdictSection(set, onPosition) {
  if (!set.verdicts?.length) return null;
  return make(
    "section",
    { class: "part" },
    make("h3", {}, `${plural(set.verdicts.length, "answer")} of judges`),
    make("ol", { class: "verdicts" }, set.verdicts.map((verdict) => one(verdict, onPosition))),
  );
}

/** The outcome in numbers of completions, as the page counts them: from 1, in the dataset's order. */
function outcome(verdict) {
  if (verdict.outcome === null) return "unreadable";
  if (verdict.outcome === "tie") return "tie";
  if (verdict.positions.length === 1) return `rated ${verdict.outcome}`;
  const numbered = verdict.outcome.replace(/\d+/g, (position) => `#${Number(position) + 1}`);
  return numbered.includes(">") ? numbered : `${numbered} is better`;
}

function one(verdict, onPosition) {
  const facts = [
    ["protocol", verdict.protocol],
    ["aspect", verdict.aspect],
    ["attempt", verdict.attempt ? verdict.attempt + 1 : null],
    ["finish", verdict.finish_reason],
  ];
  const shown = verdict.positions.map((position) =>
    position === null
      ? make("span", {}, "a dropped one")
      : make("button", { type: "button", class: "small", onclick: () => onPosition(position) }, `#${position + 1}`),
  );
  return make(
    "li",
    { class: "verdict" },
    make(
      "p",
      { class: "verdict-head" },
      make("b", { class: verdict.outcome === null ? "badge warn" : "badge" }, inline(outcome(verdict))),
      facts
        .filter(([, value]) => value !== null && value !== undefined)
        .map(([name, value]) => make("span", { class: "quiet" }, `${name} `, inline(String(value)))),
    ),
    make("p", { class: "shown-order" }, "shown in this order: ", shown),
    question(verdict.question),
    block(verdict.answer ?? "", { label: "answer" }),
  );
}

function question(messages) {
  if (!messages) return make("p", { class: "quiet note" }, "The question cannot be written again: a completion or the prompt's file is gone.");
  const turns = messages.map((message) => [
    make("p", { class: "role" }, inline(message.role)),
    block(message.content, { label: "question" }),
  ]);
  return make("details", { class: "aside-text" }, make("summary", {}, "Question"), make("div", { class: "question" }, turns));
}
