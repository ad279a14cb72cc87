// What a run did with a set: log-probs at each evaluation, and which negatives it sampled.
import { make, makeSvg } from "./dom.js";
import { number, percent } from "./format.js";
import { inline } from "./text.js";

const [WIDTH, HEIGHT, EDGE] = [560, 150, 8];

/** The section; null without a run. onPosition(position) goes to a completion. */
export function runSection(set, onPosition) {
  const run = set.run;
  if (!run) return null;
  const name = String(run.folder).split("/").at(-1);
  const steps = run.steps.map((step) => ({ ...step, completions: step.completions.filter((each) => !each.example) }));
  const more = run.steps.some((step) => step.completions.some((each) => each.example));
  return make(
    "section",
    { class: "part" },
    make("h3", {}, "Under the run ", inline(name), " (", inline(String(run.loss.name ?? "")), ")"),
    run.refused ? make("p", { class: "badge warn" }, "not trained on: ", inline(run.refused)) : null,
    run.note ? make("p", { class: "quiet" }, inline(run.note)) : null,
    steps.length > 1 ? curves(steps) : null,
    steps.length ? table(steps, onPosition) : null,
    more ? make("p", { class: "quiet note" }, "The run trained on several examples of this set; the first one is shown.") : null,
    steps.length ? make("p", { class: "quiet note" }, legend(run)) : null,
  );
}

function legend(run) {
  const parts = ["Log-probs are sums over the completion, in nats. "];
  if (run.negatives.sampling) {
    parts.push("Drawn: how often it was the negative, by the last evaluation, and how often since the one before. ");
  }
  if (run.negatives.sampling === "mc") parts.push("Weight: the probability with which one draw takes it.");
  return parts;
}

/** The log-probs over the steps, a line per completion: that of the best one in the accent. */
function curves(steps) {
  const columns = [...new Set(steps.flatMap((step) => step.completions.map((each) => each.column)))];
  const points = columns.map((column) =>
    steps.flatMap((step) => step.completions.filter((each) => each.column === column && each.logp !== null).map((each) => [step.step, each.logp])),
  );
  const every = points.flat();
  if (!every.length) return null;
  const span = (values) => [Math.min(...values), Math.max(...values)];
  const [first, last] = span(every.map(([step]) => step));
  const [low, high] = span(every.map(([, logp]) => logp));
  const x = (step) => EDGE + ((step - first) / Math.max(1, last - first)) * (WIDTH - 2 * EDGE);
  const y = (logp) => HEIGHT - EDGE - ((logp - low) / Math.max(1e-9, high - low)) * (HEIGHT - 2 * EDGE);
  const line = (own, index) => makeSvg("polyline", { class: index === 0 ? "best" : "other", points: own.map(([step, logp]) => `${x(step)},${y(logp)}`).join(" ") });
  const label = `Log-probs from ${number(low)} to ${number(high)} over steps ${first} to ${last}; the table has the numbers`;
  // The best one last, so that it lies above the others.
  const lines = points.map(line).reverse();
  return make("figure", { class: "curves" }, makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, lines), make("figcaption", { class: "quiet note" }, `Log-probs over the steps ${first} to ${last}, from ${number(low)} to ${number(high)} nats; the completion that is preferred in color.`));
}

function table(steps, onPosition) {
  const has = (name) => steps.some((step) => step.completions.some((each) => each[name] !== null && each[name] !== undefined));
  const columns = [
    ["Log-prob", "logp", number],
    ["Reference", "ref_logp", number],
    ["Tokens", "length", number],
    ["Drawn", "drawn", (value, each) => (value === null ? "–" : each.new ? `${value} (+${each.new})` : String(value))],
    ["Weight", "weight", (value) => (value === null ? "–" : percent(value))],
  ].filter(([, name]) => has(name));
  const head = ["Step", "Completion", ...columns.map(([label]) => label)].map((label, index) =>
    make("th", { scope: "col", class: index === 1 ? null : "number" }, label),
  );
  const rows = steps.flatMap((step) =>
    step.completions.map((each, index) =>
      make(
        "tr",
        { class: index ? null : "begins" },
        index ? make("td") : make("th", { scope: "row", class: "number" }, number(step.step)),
        make("td", {}, named(each, onPosition)),
        columns.map(([, name, write]) => make("td", { class: "number" }, write(each[name], each))),
      ),
    ),
  );
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Log-probs and draws by step" }, make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)));
}

function named(each, onPosition) {
  const rank = each.rank === null ? each.origin : `rank ${each.rank}`;
  if (each.position === null) return inline(rank);
  return [make("button", { type: "button", class: "small", onclick: () => onPosition(each.position) }, `#${each.position + 1}`), " ", inline(rank)];
}
