// What a run did with a set.
import { make } from "./dom.js";

/** The section; null without a run. */
export function runSection(set) {
  if (!set.run) return null;
  return make("section", { class: "part" }, make("h3", {}, "Under the run"));
}
