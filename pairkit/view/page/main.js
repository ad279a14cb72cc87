// The page: what is shown is a state, the address holds it, and every change goes through `go`.
import { showAgreement } from "./agreement.js";
import { get, post, takeToken } from "./api.js";
import { byId, make, say, settled } from "./dom.js";
import { createFilters, named } from "./filters.js";
import { count, number, plural, words } from "./format.js";
import { fillHelp, listen } from "./keys.js";
import { createList } from "./list.js";
import { idOf, quarantineRow, setRow } from "./rows.js";
import { createSet } from "./set.js";
import { fitting, fresh, read, written } from "./state.js";
import { inline, visible } from "./text.js";
import { askToken } from "./token.js";

const TAB = Math.random().toString(36).slice(2); // searches of other tabs are others
const POLL = 700; // milliseconds between questions while a search, the lengths or the verdicts are not done

let about = null;
let state = fresh();
let latest = 0; // questions for the list: answers to older ones are dropped
let agreements = 0; // questions for the agreement, as above
let running = new AbortController();
let timer = 0;
let total = 0;
let [list, filters, view] = [null, null, null];

const question = ({ list: name, text, filters: chosen, sort, disagree }) =>
  ({ tab: TAB, list: name, text, filters: chosen, sort, disagree });
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Show a problem until it is closed; without the token, ask for it. */
async function problem(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    await askToken(true);
    location.reload();
    return;
  }
  const close = make("button", { type: "button", class: "small", "aria-label": "Close", onclick: () => line.remove() }, "×");
  const line = make("p", { class: "problem" }, inline(error.message), close);
  byId("problems").replaceChildren(line);
}

/** Change what is shown. `push`: as a step that the browser's Back undoes. */
function go(changes, { push = false } = {}) {
  const before = state;
  state = { ...state, ...changes };
  const address = `#${written(state)}`;
  if (push) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  apply(before);
}

function apply(before) {
  if (!same(question(before), question(state))) refresh();
  if (before.set !== state.set || before.row !== state.row) openCurrent();
  else if (before.diff !== state.diff) view.setDiff(state.diff);
}

/** Ask for the list anew. With `keep`, for more of the same: the place in it stays. */
async function refresh({ keep = false } = {}) {
  const asked = (latest += 1);
  running.abort();
  running = new AbortController();
  clearTimeout(timer);
  byId("list").setAttribute("aria-busy", "true");
  let answer;
  try {
    answer = await post("/api/query", { ...question(state), offset: 0, limit: 50 }, running.signal);
  } catch (error) {
    problem(error);
    return;
  }
  if (asked !== latest) return;
  byId("list").setAttribute("aria-busy", "false");
  total = answer.total;
  list.update(total, answer.rows, { keep });
  if (state.set !== null) list.find((row) => idOf(row) === state.set);
  filtersNow().update(answer.facets, state);
  showHead(answer);
  const unfinished = [answer.search, answer.lengths, answer.verdicts].some((part) => part && !part.done);
  if (unfinished) timer = setTimeout(() => refresh({ keep: true }), POLL);
}

async function fetchPage(offset, limit) {
  try {
    return (await post("/api/query", { ...question(state), offset, limit }, running.signal)).rows;
  } catch (error) {
    problem(error);
    throw Object.assign(error, { name: "AbortError" }); // told already
  }
}

function showHead(answer) {
  const name = state.list === "sets" ? "set" : "row";
  const all = state.list === "sets" ? about.sets : about.quarantined;
  const parts = [total === all ? plural(total, name) : `${count(total)} of ${plural(all, name)}`];
  const { search, lengths } = answer;
  if (search && !search.done) parts.push(`searched ${Math.floor((100 * search.scanned) / Math.max(1, search.of))} %`);
  if (lengths && !lengths.done) parts.push(`lengths read of ${count(lengths.read)}`);
  byId("count").textContent = parts.join(" · ");
  const chips = Object.entries(state.filters).map(([key, filter]) => chip(key, filter));
  if (state.disagree) {
    const pair = `${state.disagree.first} against ${state.disagree.second}`;
    chips.push(chipOf(pair, () => disagree(null)));
  }
  byId("chips").replaceChildren(...chips);
  for (const tab of byId("tabs").children) tab.setAttribute("aria-pressed", String(tab.dataset.list === state.list));
  showSorting();
  const text = byId("text");
  if (document.activeElement !== text) text.value = state.text;
}

function chip(key, filter) {
  const label = facetsOf(state.list).find((facet) => facet.name === key)?.label ?? words(key);
  const { min, max, values } = filter;
  const range = min === undefined ? `≤ ${number(max)}` : max === undefined ? `≥ ${number(min)}` : `${number(min)} to ${number(max)}`;
  return chipOf(`${label}: ${values ? values.map(named).join(", ") : range}`, () => setFilter(key, null));
}

function chipOf(text, drop) {
  const label = `Remove the filter ${visible(text)}`;
  return make("button", { type: "button", class: "chip", "aria-label": label, onclick: drop }, inline(text), make("span", { "aria-hidden": "true" }, "×"));
}

function setFilter(name, filter) {
  const next = { ...state.filters };
  if (filter === null) delete next[name];
  else next[name] = filter;
  go({ filters: next });
}

function showSorting() {
  byId("sorting").hidden = state.list !== "sets"; // rows in quarantine have no numbers
  const by = state.sort?.by ?? "";
  const select = byId("sort");
  if (select) {
    select.value = by;
    select.querySelector(`[value=${DISAGREEMENT}]`).hidden = !state.disagree;
    byId("direction").hidden = !by;
    byId("direction").textContent = state.sort?.descending ? "↓ largest first" : "↑ smallest first";
    return;
  }
  const sorts = [...about.sorts, { name: DISAGREEMENT, label: "disagreement" }];
  const options = sorts.map((sort) => make("option", { value: sort.name }, visible(sort.label ?? words(sort.name))));
  byId("sorting").append(
    make("label", { for: "sort", class: "unseen" }, "Sort by"),
    make(
      "select",
      { id: "sort", onchange: (event) => go({ sort: event.target.value ? { by: event.target.value, descending: true } : null }) },
      make("option", { value: "" }, "In the dataset's order"),
      options,
    ),
    make("button", { type: "button", id: "direction", class: "quiet-button", onclick: () => go({ sort: { ...state.sort, descending: !state.sort.descending } }) }),
  );
  showSorting();
}

/** Open what the state names: a set, a row of the quarantine, or nothing. */
async function openCurrent() {
  const wanted = state;
  document.body.classList.toggle("opened", state.set !== null || state.row !== null);
  try {
    if (state.set !== null) {
      const answer = await get("/api/set", { id: state.set });
      if (wanted.set !== state.set) return;
      view.show(answer, state);
      list.find((row) => idOf(row) === state.set);
      say(`Set ${visible(state.set)}`);
    } else if (state.row !== null) {
      const answer = await get("/api/quarantine", { row: state.row });
      if (wanted.row === state.row) view.showQuarantined(answer);
    } else {
      view.close();
      byId("set").replaceChildren(nothingOpen());
    }
  } catch (error) {
    problem(error);
  }
}

function nothingOpen() {
  const key = (name) => make("kbd", {}, name);
  return make("div", { class: "nothing" }, make("p", {}, "No set is open."), make("p", { class: "quiet" }, key("j"), " ", key("k"), " move in the list, ", key("Enter"), " opens, ", key("?"), " shows all keys."));
}

const isOpen = () => state.set !== null || state.row !== null;

function open(row) {
  const next = state.list === "sets" ? { set: idOf(row), row: null } : { set: null, row: row.row };
  const push = !isOpen();
  const narrow = getComputedStyle(byId("list")).display === "none" || innerWidth < 800;
  go(next, { push });
  if (push || narrow) byId("set").focus({ preventScroll: true });
}

function close() {
  if (!isOpen()) return;
  go({ set: null, row: null }, { push: true });
  list.refresh();
  list.focus();
}

const escape = () => {
  if (document.activeElement === byId("text")) list.focus();
  else if (document.body.classList.contains("filtering")) toggleFilters(false);
  else close();
};

function toggleFilters(on = !document.body.classList.contains("filtering")) {
  document.body.classList.toggle("filtering", on);
  byId("show-filters").setAttribute("aria-expanded", String(on));
  if (on) byId("filters").querySelector("summary, button, input")?.focus();
  else byId("show-filters").focus();
}

function openDialog(id) {
  if (!byId(id).open) byId(id).showModal();
}

async function openAgreement() {
  try {
    await showAgreement(about.annotate);
    openDialog("agreement");
  } catch (error) {
    problem(error);
  }
}

function labeled(set, label) {
  list.change((row) => row.row === set.row, { label });
  showAgreementShort().catch(problem);
}

async function showAgreementShort() {
  const asked = (agreements += 1);
  const { sets } = await get("/api/agreement");
  if (asked !== agreements) return; // a newer one was asked for
  byId("show-agreement").replaceChildren(make("span", { class: "who" }, inline(about.annotate), ": "), `${count(sets)} ordered`);
}

function keys() {
  const rows = [
    ["j", "next set", () => list.move(1), "List"],
    ["k", "previous set", () => list.move(-1), "List"],
    ["Enter", "open the set", () => list.open(), "List"],
    ["/", "search", () => byId("text").select(), "List"],
    ["s", "sort", () => byId("sort").focus(), "List"],
    ["v", "filters", () => toggleFilters(), "List"],
    ["Escape", "back: out of the search, the set, a dialog", escape, "List"],
    ["n", "next completion", () => view.step(1), "Set"],
    ["p", "previous completion", () => view.step(-1), "Set"],
    ["e", "long completions whole, or folded", () => view.unfold(), "Set"],
    ["d", "differences from the chosen completion", () => go({ diff: !state.diff }), "Set"],
    ["?", "this help", () => openDialog("help"), "Page"],
  ];
  if (!about.annotate) return rows;
  const label = (action) => () => {
    const shown = view.current();
    // A key that comes before the next set does is not about the one that is left.
    if (shown && idOf(shown) === state.set) view.label(action);
  };
  return [
    ...rows,
    ["g", "agreement with other rankers", openAgreement, "Page"],
    ["a", "accept the order", label("accept"), "Label"],
    ["Alt+ArrowUp", "move the completion up", label("up"), "Label"],
    ["Alt+ArrowDown", "move the completion down", label("down"), "Label"],
    ["=", "tie it with the one above, or untie", label("same"), "Label"],
    ["t", "tie all completions", label("tie"), "Label"],
    ["f", "flag, with a note", label("flag"), "Label"],
    ["x", "clear the label", label("clear"), "Label"],
  ];
}

function build() {
  document.title = `${visible(about.title)} – pairkit view`;
  byId("title").replaceChildren(visible(about.title));
  byId("title").title = visible(about.path ?? "");
  list = createList(byId("list"), {
    fetchPage,
    renderRow: (row) => (state.list === "sets" ? setRow(row) : quarantineRow(row)),
    onOpen: open,
    onMove: (row) => isOpen() && open(row),
  });
  view = createSet(byId("set"), about, {
    onClose: close,
    onStep: (step) => list.move(step),
    onDiff: (diff) => go({ diff }),
    onLabel: labeled,
    onProblem: problem,
  });
  buildTabs();
  buildProblems();
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    list.focus();
  });
  byId("text").addEventListener("input", settled(200, () => go({ text: byId("text").value.trim() })));
  byId("show-filters").addEventListener("click", () => toggleFilters());
  byId("show-help").addEventListener("click", () => openDialog("help"));
  byId("show-agreement").addEventListener("click", openAgreement);
  byId("show-agreement").hidden = !about.annotate;
  if (about.annotate) showAgreementShort().catch(problem);
  listen(keys());
  fillHelp(keys());
  window.addEventListener("popstate", () => {
    takeToken();
    const before = state;
    takeState();
    apply(before);
  });
}

const facetsOf = (name) => (name === "sets" ? about.facets : about.quarantine_facets);
const DISAGREEMENT = "disagreement";

/** Two rankers, or none: their disagreement is a facet and a sort only while they are named. */
function disagree(pair) {
  const filters_ = { ...state.filters };
  delete filters_[DISAGREEMENT];
  const sort = pair ? { by: DISAGREEMENT, descending: true } : state.sort?.by === DISAGREEMENT ? null : state.sort;
  go({ disagree: pair, filters: filters_, sort });
}

/** The filters of the list that is shown, made when another list is. */
function filtersNow() {
  if (filters?.list === state.list) return filters;
  const made = createFilters(byId("filters"), facetsOf(state.list), state.list === "sets" ? about.scores : [], {
    onChange: setFilter,
    onDisagree: disagree,
    onClear: () => go({ filters: {}, disagree: null, text: "", sort: state.sort?.by === DISAGREEMENT ? null : state.sort }),
  });
  filters = { ...made, list: state.list };
  return filters;
}

function buildTabs() {
  const tab = (name, label, many) =>
    make("button", { type: "button", "data-list": name, onclick: () => go({ list: name, filters: {}, sort: null, disagree: null, set: null, row: null }) }, `${label} `, make("span", { class: "many" }, count(many)));
  byId("tabs").append(tab("sets", "Sets", about.sets));
  if (about.quarantined) byId("tabs").append(tab("quarantine", "Quarantine", about.quarantined));
}

function buildProblems() {
  if (!about.problems.length) return;
  const lines = about.problems.map((each) => make("li", {}, inline(each.file), ": ", inline(each.message)));
  const summary = `${plural(about.problems.length, "file")} cannot be read; the rest is shown`;
  byId("problems").after(make("details", { class: "damaged" }, make("summary", {}, summary), make("ul", {}, lines)));
}

/** Take the state of the address, as far as this data has what it names. */
function takeState() {
  const [fit, left] = fitting(read(location.hash), about);
  state = fit;
  if (left.length) problem(new Error(`The address asks for what this data has not, which is left out: ${left.join(", ")}`));
}

async function start() {
  takeToken();
  for (let tries = 0; about === null; tries += 1) {
    try {
      about = await get("/api/about");
    } catch (error) {
      if (error.status !== 401) {
        problem(error);
        return;
      }
      await askToken(tries > 0);
    }
  }
  build();
  takeState();
  // Somebody may have begun to type before there was an answer.
  state.text = byId("text").value.trim() || state.text;
  await refresh();
  await openCurrent();
  if (isOpen()) return;
  list.focus();
  list.first();
}

start();
