// One set: its prompt, its completions best first, what judges said, and what a run did with it.
import { get } from "./api.js";
import * as completion from "./completion.js";
import { conversation } from "./conversation.js";
import { make, say } from "./dom.js";
import { plural, words } from "./format.js";
import { createLabels } from "./labels.js";
import { equal, flat, orderOf, rankOf } from "./order.js";
import { runSection } from "./run.js";
import { inline, visible, wanted } from "./text.js";
import { verdictSection } from "./verdicts.js";

/**
 * Make the view of a set in an element.
 *
 * onClose(), onStep(step) to the next or previous set, onDiff(on), onLabel(set, label) after a label was saved.
 */
export function createSet(place, about, { onClose, onStep, onDiff, onLabel, onProblem }) {
  let set = null;
  let order = null;
  let cards = new Map(); // by position
  let differences = new Map();
  let showDiff = false;
  let current = 0; // in the order that is shown
  let hits = null;
  let unfolded = false; // long texts, as the reader last wanted them
  const labels = about.annotate ? createLabels({ onOrder, onSaved, onProblem }) : null;

  function show(answer, state) {
    set = answer;
    showDiff = state.diff;
    hits = wanted(state.text);
    order = orderOf(set.completions, set.label);
    cards = new Map(set.completions.map((each) => [each.position, card(each)]));
    differences = new Map();
    current = 0;
    labels?.open(set, order, cards);
    const list = make("ol", { class: "completions" });
    const parts = [
      head(),
      section("Prompt", conversation(set.prompt, hits), tools()),
      section(plural(set.completions.length, "completion"), toolbar(), labels?.element, list),
      verdictSection(set, onPosition),
      runSection(set, onPosition),
      evidence(),
      metadata(),
    ];
    place.replaceChildren(...parts.filter(Boolean));
    arrange();
    place.scrollTop = 0;
    place.setAttribute("aria-label", `Set ${visible(set.set_id)}`);
    if (showDiff) compare();
  }

  function section(title, ...content) {
    return make("section", { class: "part" }, make("h3", {}, title), ...content);
  }

  function head() {
    const copy = make("button", { type: "button", class: "quiet-button", onclick: copyLink }, "Copy link");
    const step = (by, label, key) =>
      make("button", { type: "button", onclick: () => onStep(by), title: `${label} (${key})`, "aria-label": label }, by < 0 ? "↑" : "↓");
    const close = make("button", { type: "button", class: "close", onclick: onClose, title: "Back to the list (Escape)" }, "Close");
    const facts = [["split", set.split], ["source", set.source], ["segment", set.segment]];
    return make(
      "header",
      { class: "set-head" },
      make("div", { class: "set-tools" }, step(-1, "Previous set", "k"), step(1, "Next set", "j"), copy, close),
      make("h2", {}, "Set ", inline(set.set_id, { class: "id" })),
      make("p", { class: "quiet" }, facts.filter(([, value]) => value !== null && value !== undefined).map(([name, value], index) => [index ? " · " : "", `${name} `, inline(value)])),
    );
  }

  async function copyLink() {
    await navigator.clipboard.writeText(location.href);
    say("Link copied. It has no token: whoever opens it is asked for one.");
  }

  function toolbar() {
    const chosen = set.chosen;
    if (set.completions.length < 2 || chosen === null) return null;
    const box = make("input", { type: "checkbox", onchange: () => onDiff(box.checked) });
    box.checked = showDiff;
    return make("div", { class: "toolbar" }, make("label", {}, box, "Differences from the chosen one ", make("kbd", { "aria-hidden": "true" }, "d")));
  }

  function card(each) {
    const rank = make("span", { class: "rank" });
    const badges = make("span", { class: "badges" });
    if (each.position === set.chosen) badges.append(make("span", { class: "badge chosen" }, "chosen"));
    if (each.position === set.rejected) badges.append(make("span", { class: "badge" }, "rejected"));
    const text = make("div", { class: "completion-body" }, completion.body(each, hits));
    const tools_ = labels?.controls(each.position) ?? null;
    const article = make(
      "article",
      { class: "completion", tabindex: "-1", "data-position": each.position },
      make("header", {}, rank, badges, make("span", { class: "author" }, inline(each.model ?? ""), make("span", { class: "number-in-set", title: "its place in the dataset" }, ` #${each.position + 1}`)), tools_),
      completion.scores(each),
      text,
      completion.facts(each),
      each.metadata ? make("details", { class: "aside-text" }, make("summary", {}, "Metadata"), completion.code(each.metadata)) : null,
    );
    if (isLong(each)) foldable(article, text);
    const item = make("li", {}, article);
    article.addEventListener("focusin", () => {
      current = flat(order).indexOf(each.position);
      mark();
    });
    return { item, article, rank, text, completion: each };
  }

  const isLong = (each) => each.text.length > 1800 || each.text.split("\n", 31).length > 30;

  /** Show the beginning of a long text, so that its neighbors can be seen too. */
  function foldable(article, text) {
    const tell = () => {
      const folded = article.classList.contains("folded");
      button.textContent = folded ? "Show all" : "Show less";
      button.setAttribute("aria-expanded", String(!folded));
    };
    const button = make("button", { type: "button", class: "quiet-button fold", onclick: () => fold(!article.classList.contains("folded")) });
    const fold = (on) => {
      article.classList.toggle("folded", on);
      tell();
    };
    article.fold = fold;
    text.after(button);
    fold(!unfolded);
  }

  /** Put the cards in the order, and write their ranks. */
  function arrange() {
    const list = place.querySelector(".completions");
    const positions = flat(order);
    const active = document.activeElement;
    // Moved only where they are not in place: a moved element loses the focus.
    positions.forEach((position, index) => {
      const { item } = cards.get(position);
      if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    });
    if (active && list.contains(active)) active.focus({ preventScroll: true });
    // Ranks of a dataset may have gaps, as where completions were dropped; those of an annotator are counted.
    const before = orderOf(set.completions, null);
    const unchanged = equal(order, before);
    for (const [position, { rank, article, completion: each }] of cards) {
      const now = unchanged ? each.rank : rankOf(order, position);
      const own = set.label?.order && rankOf(order, position) !== rankOf(before, position);
      rank.textContent = now === null ? "–" : String(now);
      rank.title = now === null ? "not ranked" : own ? `your rank; the dataset's is ${each.rank ?? "none"}` : "rank";
      rank.classList.toggle("own", Boolean(own));
      article.setAttribute("aria-label", now === null ? "Completion without a rank" : `Completion of rank ${now}`);
    }
    mark();
  }

  function mark() {
    flat(order).forEach((position, index) => cards.get(position).article.classList.toggle("current", index === current));
  }

  function onOrder(next) {
    const position = flat(order)[current];
    order = next;
    current = Math.max(0, flat(order).indexOf(position));
    arrange();
    cards.get(position)?.article.scrollIntoView({ block: "nearest" });
  }

  /** Take the label of a set that may not be open any more; `newest`: no later change of it is to be saved. */
  function onSaved(saved, label, newest) {
    onLabel(saved, label);
    if (set?.row !== saved.row) return order;
    set.label = label;
    // A later change is shown already.
    if (!newest) return order;
    order = orderOf(set.completions, label);
    arrange();
    return order;
  }

  function onPosition(position) {
    const index = flat(order).indexOf(position);
    if (index >= 0) focusCompletion(index);
  }

  function focusCompletion(index) {
    const positions = flat(order);
    if (!positions.length) return;
    current = Math.max(0, Math.min(positions.length - 1, index));
    const { article } = cards.get(positions[current]);
    article.focus({ preventScroll: true });
    article.scrollIntoView({ block: "nearest", behavior: "auto" });
    mark();
  }

  async function compare() {
    const here = set;
    for (const [position, { text, completion: each }] of cards) {
      if (!showDiff || position === set.chosen || set.chosen === null) {
        if (text.dataset.diff) text.replaceChildren(...completion.body(each, hits));
        delete text.dataset.diff;
        continue;
      }
      try {
        if (!differences.has(position)) {
          differences.set(position, await get("/api/diff", { row: set.row, a: set.chosen, b: position }));
        }
      } catch (error) {
        onProblem(error);
        return;
      }
      if (here !== set || !showDiff) return;
      text.replaceChildren(...completion.difference(differences.get(position)));
      text.dataset.diff = "1";
    }
  }

  function tools() {
    if (!set.tools) return null;
    return make("details", { class: "aside-text" }, make("summary", {}, "Tools"), completion.code(set.tools));
  }

  /** Completions that were dropped, rows of this set in quarantine, and what of it cannot be read. */
  function evidence() {
    const dropped = (set.dropped ?? []).map((each) => make("li", { class: "dropped" }, make("p", { class: "quiet" }, inline(words(each.reason)), " · ", inline(each.completion.model ?? "")), completion.body(each.completion, hits)));
    const rows = (set.quarantine ?? []).map((each) => make("li", {}, make("p", {}, inline(words(each.reason)), ": ", inline(each.detail ?? ""))));
    const problems = (set.problems ?? []).map((each) => make("p", { class: "badge warn" }, inline(each)));
    const details = (title, items) => items.length ? make("details", { class: "aside-text" }, make("summary", {}, title), make("ul", {}, items)) : null;
    if (!dropped.length && !rows.length && !problems.length) return null;
    return section("Left out", problems, details(plural(dropped.length, "dropped completion"), dropped), details(`${plural(rows.length, "row")} in quarantine`, rows));
  }

  function metadata() {
    return ["", "{}", "null"].includes(set.metadata ?? "") ? null : section("Metadata", completion.code(set.metadata));
  }

  return {
    show,
    isOpen: () => set !== null,
    current: () => set,
    close() {
      set = null;
      place.replaceChildren();
    },
    /** Show a row of the quarantine in the same place. */
    showQuarantined(row) {
      set = null;
      const close = make("button", { type: "button", class: "close", onclick: onClose, title: "Back to the list (Escape)" }, "Close");
      place.replaceChildren(
        make("header", { class: "set-head" }, make("div", { class: "set-tools" }, close), make("h2", {}, "In quarantine")),
        section("Why", make("dl", { class: "facts wide" }, ["stage", "reason", "set_id", "detail"].filter((name) => row[name]).map((name) => make("div", {}, make("dt", {}, words(name)), make("dd", {}, inline(row[name])))))),
        section("The row", completion.code(row.row ?? "")),
      );
      place.scrollTop = 0;
      place.setAttribute("aria-label", "Row in quarantine");
    },
    step: (by) => set && focusCompletion(document.activeElement?.closest(".completion") ? current + by : current),
    setDiff(on) {
      if (!set || on === showDiff) return;
      showDiff = on;
      const box = place.querySelector(".toolbar input");
      if (box) box.checked = on;
      compare();
    },
    unfold() {
      unfolded = !unfolded;
      for (const { article } of cards.values()) article.fold?.(!unfolded);
      say(unfolded ? "Long completions are shown whole." : "Long completions are folded.");
    },
    label: (action) => set && labels?.act(action, flat(order)[current]),
  };
}
