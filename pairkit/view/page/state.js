// What is shown, and the part of the address after the # that says it. The token is never in it.

const EMPTY = {
  list: "sets", text: "", filters: {}, sort: null, disagree: null, set: null, row: null, diff: false,
};

export const fresh = () => ({ ...EMPTY, filters: {} });

/** Write a state as the part of an address after the #; what is as at the start is left out. */
export function written(state) {
  const fields = new URLSearchParams();
  if (state.list !== "sets") fields.append("list", state.list);
  if (state.text) fields.append("text", state.text);
  for (const [name, filter] of Object.entries(state.filters)) {
    // As JSON, because a value may be a text, a number or null.
    for (const value of filter.values ?? []) fields.append(`is.${name}`, JSON.stringify(value));
    if (!filter.values) fields.append(`in.${name}`, `${filter.min ?? ""}..${filter.max ?? ""}`);
  }
  if (state.sort) fields.append("sort", (state.sort.descending ? "-" : "") + state.sort.by);
  if (state.disagree) {
    fields.append("first", state.disagree.first);
    fields.append("second", state.disagree.second);
  }
  if (state.set !== null) fields.append("set", state.set);
  if (state.row !== null) fields.append("row", state.row);
  if (state.diff) fields.append("diff", "1");
  return fields.toString();
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text; // written by hand
  }
}

function bound(text) {
  const value = Number(text);
  return text === "" || Number.isNaN(value) ? null : value;
}

/** Read the part of an address after the #. Whatever it does not understand is left out. */
export function read(text) {
  const fields = new URLSearchParams(text.replace(/^#/, ""));
  const state = { ...fresh(), filters: Object.create(null) };
  if (fields.get("list") === "quarantine") state.list = "quarantine";
  state.text = fields.get("text") ?? "";
  for (const [key, value] of fields) {
    const name = key.slice(3);
    if (key.startsWith("is.")) {
      state.filters[name] ??= { values: [] };
      state.filters[name].values?.push(parsed(value));
    } else if (key.startsWith("in.") && value.includes("..")) {
      const [min, max] = value.split("..").map(bound);
      if (min !== null || max !== null) state.filters[name] = range(min, max);
    }
  }
  const sort = fields.get("sort");
  if (sort) state.sort = { by: sort.replace(/^-/, ""), descending: sort.startsWith("-") };
  const [first, second] = [fields.get("first"), fields.get("second")];
  if (first && second) state.disagree = { first, second };
  state.set = fields.get("set");
  state.row = bound(fields.get("row") ?? "");
  state.diff = fields.get("diff") === "1";
  return state;
}

const LONGEST = 1000; // characters of a search, as in the search box
const DISAGREEMENT = "disagreement";

/** Leave out of a state what this data has not: a link may be of other data. Returns the state, and names of the rest. */
export function fitting(state, about) {
  const sets = state.list === "sets";
  const pair = state.disagree;
  const disagree = sets && pair && about.scores.includes(pair.first) && about.scores.includes(pair.second) ? pair : null;
  const facets = sets ? about.facets : about.quarantine_facets;
  const kinds = new Map(facets.map(({ name, kind }) => [name, kind]));
  if (disagree) kinds.set(DISAGREEMENT, "number");
  const fits = ([name, filter]) => kinds.get(name) === (filter.values ? "values" : "number");
  const filters = Object.entries(state.filters);
  const sort = state.sort && kinds.get(state.sort.by) === "number" ? state.sort : null;
  const left = filters.filter((each) => !fits(each)).map(([name]) => name);
  if (pair && !disagree) left.push(`${pair.first} against ${pair.second}`);
  if (state.sort && !sort) left.push(state.sort.by);
  const text = state.text.slice(0, LONGEST);
  return [{ ...state, text, filters: Object.fromEntries(filters.filter(fits)), disagree, sort }, [...new Set(left)]];
}

/** A filter by a range; an end that is not set is left out. */
export function range(min, max) {
  const filter = {};
  if (min !== null) filter.min = min;
  if (max !== null) filter.max = max;
  return filter;
}
