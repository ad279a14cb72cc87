// What a row of the list shows.
import { make } from "./dom.js";
import { number, plural } from "./format.js";
import { inline, visible } from "./text.js";

const KINDS = { accept: "accepted", order: "ordered", tie: "tied", flag: "flagged" };

export function setRow(row) {
  const facts = [
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
  return [
    make("p", { class: "row-text", dir: "auto" }, visible(oneLine(row.detail ?? row.reason ?? ""))),
    make("p", { class: "row-facts" }, spread([row.stage, row.reason])),
  ];
}

const oneLine = (text) => text.replace(/\s+/g, " ");

const spread = (facts) =>
  facts.filter((fact) => fact !== null && fact !== undefined && fact !== "").map((fact) => inline(fact));
