// The filters next to the list: values to tick, histograms to brush, and two rankers that disagree.
import { make } from "./dom.js";
import { count, words } from "./format.js";
import { createHistogram } from "./histogram.js";
import { visible } from "./text.js";

const FEW = 8; // values that are shown before "Show all"

/** A value as a text: null is a value too. */
export const named = (value) => (value === null || value === "" ? "(none)" : visible(String(value)));

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Make the filters in an element; onChange(name, filter or null), onDisagree(pair or null), onClear(). */
export function createFilters(place, described, scores, { onChange, onDisagree, onClear }) {
  const facets = new Map();
  const clear = make("button", { type: "button", class: "quiet-button", onclick: onClear }, "Clear all");
  place.replaceChildren(make("div", { class: "filters-head" }, make("h2", {}, "Filters"), clear));
  for (const facet of described) {
    const make_ = facet.kind === "number" ? numbers : values;
    const made = make_(facet, (filter) => onChange(facet.name, filter));
    facets.set(facet.name, made);
    place.append(made.element);
  }
  // Known only while two rankers are named, and so not among the described ones.
  const between = numbers({ name: "disagreement", label: "share of pairs in another order" }, (filter) => onChange("disagreement", filter));
  if (scores.length > 1) facets.set("disagreement", between);
  const disagreement = scores.length > 1 ? createDisagreement(scores, onDisagree) : null;
  if (disagreement) place.append(disagreement.element, between.element);

  return {
    update(data, state) {
      const used = Object.keys(state.filters).length || state.disagree || state.text;
      clear.disabled = !used;
      for (const [name, facet] of facets) {
        const shown = data[name] !== undefined;
        facet.element.hidden = !shown;
        if (shown) facet.update(data[name], state.filters[name]);
      }
      disagreement?.update(state.disagree);
    },
  };
}

function section(label, body) {
  const heading = make("h3", {}, label);
  return make("details", { class: "facet", open: true }, make("summary", {}, heading), body);
}

function numbers(facet, onChange) {
  const label = facet.label ?? words(facet.name);
  const histogram = createHistogram({ label, onChange });
  return { element: section(label, histogram.element), update: histogram.update };
}

function values(facet, onChange) {
  const label = facet.label ?? words(facet.name);
  const list = make("ul", { class: "values" });
  const more = make("button", { type: "button", class: "quiet-button", hidden: true, onclick: () => unfold() });
  const element = section(label, make("div", {}, list, more));
  let [all, last, chosen] = [false, [], []];

  function unfold() {
    all = !all;
    update({ values: last }, { values: chosen });
  }

  function toggle(value, on) {
    const kept = chosen.filter((each) => !same(each, value));
    const next = on ? [...kept, value] : kept;
    onChange(next.length ? { values: next } : null);
  }

  function update(data, filter) {
    last = data.values;
    chosen = filter?.values ?? [];
    // What is ticked stays in sight, also when nothing has it under the other filters.
    const absent = chosen.filter((value) => !last.some(([other]) => same(value, other))).map((value) => [value, 0]);
    const ticked = (value) => chosen.some((each) => same(each, value));
    const shown = [...last, ...absent].filter(([value], index) => all || index < FEW || ticked(value));
    const most = Math.max(1, ...shown.map(([, many]) => many));
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.value : null;
    list.replaceChildren(...shown.map(([value, many]) => entry(value, many, most, ticked(value))));
    more.hidden = last.length <= FEW;
    more.textContent = all ? "Show fewer" : `Show all ${count(last.length)}`;
    // The boxes are new: who ticks with the keyboard stays where they were.
    if (focused !== null) [...list.querySelectorAll("input")].find((box) => box.dataset.value === focused)?.focus();
  }

  function entry(value, many, most, on) {
    const box = make("input", {
      type: "checkbox",
      "data-value": JSON.stringify(value),
      onchange: (event) => toggle(value, event.target.checked),
    });
    box.checked = on;
    const bar = make("span", { class: "share", "aria-hidden": "true" });
    bar.style.width = `${(100 * many) / most}%`;
    const name = make("bdi", { class: "name", title: named(value) }, named(value));
    return make("li", {}, make("label", {}, box, name, make("span", { class: "many" }, count(many)), bar));
  }

  return { element, update };
}

function createDisagreement(scores, onDisagree) {
  const choices = ["first", "second"].map((which) =>
    make(
      "select",
      { "aria-label": `Disagreement: ${which} ranker`, onchange: changed },
      make("option", { value: "" }, "–"),
      scores.map((name) => make("option", { value: name }, visible(name))),
    ),
  );
  function changed() {
    const [first, second] = choices.map((choice) => choice.value);
    if (first && second && first !== second) onDisagree({ first, second });
    else if (!first || !second) onDisagree(null);
  }
  const help = make("p", { class: "quiet note" }, "Adds the share of pairs that two rankers order differently.");
  return {
    element: section("Disagreement", make("div", { class: "disagreement" }, choices[0], choices[1], help)),
    update(pair) {
      choices[0].value = pair?.first ?? choices[0].value;
      choices[1].value = pair?.second ?? choices[1].value;
      if (!pair && choices[0].value && choices[1].value) for (const choice of choices) choice.value = "";
    },
  };
}
