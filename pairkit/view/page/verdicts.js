// What judges were asked about a set, and what they answered.
import { make } from "./dom.js";
import { plural, words } from "./format.js";
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

function one(verdict, onPosition) {
  const facts = [["protocol", verdict.protocol], ["aspect", verdict.aspect], ["attempt", verdict.attempt || null], ["finish", verdict.finish_reason]];
  const read = verdict.verdict === null || verdict.verdict === undefined ? "unreadable" : verdict.verdict;
  return make(
    "li",
    { class: "verdict" },
    make(
      "p",
      { class: "verdict-head" },
      make("b", { class: read === "unreadable" ? "badge warn" : "badge" }, inline(words(String(read)))),
      facts.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => make("span", { class: "quiet" }, `${name} `, inline(String(value)))),
    ),
    verdict.shown?.length
      ? make("p", { class: "shown-order" }, "Shown: ", verdict.shown.map((position) => make("button", { type: "button", class: "small", onclick: () => onPosition(position) }, `completion ${position}`)))
      : null,
    verdict.question ? make("details", { class: "aside-text" }, make("summary", {}, "Question"), block(verdict.question, { label: "question" })) : null,
    block(verdict.answer ?? "", { label: "answer" }),
  );
}
