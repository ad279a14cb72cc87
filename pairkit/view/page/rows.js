// What a row of the list shows.
import { make } from "./dom.js";
import { number, plural } from "./format.js";
import { inline, visible } from "./text.js";

const KINDS = { accept: "accepted", order: "ordered", tie: "tied", flag: "flagged" };

/** How a set is named in an address: by its segment too, because segments of an online run share sets. */
export const idOf = (row) => (row.segment ? `${row.segment}/${row.set_id}` : row.set_id);

export function setRow(row) {
  if (row.error) return unreadable(row);
  const facts = [
    row.segment ? `segment ${row.segment}` : null,
    row.split,
    row.source,
    plural(row.completions, "completion"),
    row.margin === null || row.margin === undefined ? null : `margin ${number(row.margin)}`,
    row.disagreement === null || row.disagreement === undefined ? null : `${Math.round(100 * row.disagreement)} % disagree`,
  ];
  const label = row.label ? make("span", { class: `badge ${row.label.kind}` }, KINDS[row.label.kind] ?? row.label.kind) : null;
  return [
    make("p", { class: "row-text", dir: "auto" }, row.prompt ? visible(oneLine(row.prompt)) : "(empty prompt)"),
    make("p", { class: "row-facts" }, label, spread(facts)),
  ];
}

export function quarantineRow(row) {
  if (row.error) return unreadable(row);
  return [
    make("p", { class: "row-text", dir: "auto" }, visible(oneLine(row.detail || row.text || row.reason || ""))),
    make("p", { class: "row-facts" }, spread([row.stage, row.reason])),
  ];
}

const unreadable = (row) => [
  make("p", { class: "row-text" }, visible(row.error)),
  make("p", { class: "row-facts" }, make("span", { class: "badge warn" }, "cannot be read")),
];

const oneLine = (text) => text.replace(/\s+/g, " ");

const spread = (facts) =>
  facts.filter((fact) => fact !== null && fact !== undefined && fact !== "").map((fact) => inline(fact));
