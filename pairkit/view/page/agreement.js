// How often the annotator orders completions as the other rankers do.
import { get } from "./api.js";
import { byId, make } from "./dom.js";
import { count, number, percent, plural } from "./format.js";
import { inline } from "./text.js";

/** Fill the dialog; it is asked anew after every label while it is open. */
export async function showAgreement(annotator) {
  const answer = await get("/api/agreement");
  const rows = answer.rankers.map((each) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, inline(each.name)),
      make("td", { class: "number" }, count(each.pairs)),
      make("td", { class: "number" }, each.pairs ? percent(each.same / each.pairs) : "–"),
      make("td", { class: "number" }, number(each.alpha)),
    ),
  );
  const head = ["Ranker", "Pairs", "Same order", "Alpha"].map((name, index) =>
    make("th", { scope: "col", class: index ? "number" : null }, name),
  );
  const table = make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows));
  byId("agreement").replaceChildren(
    make("form", { method: "dialog", class: "dialog-head" }, make("h2", { id: "agreement-title" }, "Agreement"), make("button", { class: "close" }, "Close")),
    make("p", { class: "quiet" }, inline(annotator), ` has ordered ${plural(answer.sets, "set")}. Of the pairs that both order, the share in the same order; alpha is Krippendorff's, 1 for perfect agreement, 0 for chance.`),
    rows.length ? make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Agreement by ranker" }, table) : make("p", {}, "No other ranker orders these sets."),
  );
}
