// Texts of others. They become text nodes; what a reader cannot see is shown as a mark with its number.
import { make } from "./dom.js";

// Control characters, line separators, marks that turn the direction of writing, invisible ones, tags, halves of
// characters. Tabs, line breaks and the joiners of letters and emoji are left as they are.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}\p{Cs}]+/gu;
const MOST_MARKS = 2000; // elements per text; the marks of a text that has more are plain text
const FIRST = 20000; // characters that are shown at once

const NAMES = new Map([
  [0x00, "null"], [0x08, "backspace"], [0x0d, "carriage return"], [0x1b, "escape"], [0x7f, "delete"],
  [0xad, "soft hyphen"], [0x200b, "zero width space"], [0x200e, "left-to-right mark"],
  [0x200f, "right-to-left mark"], [0x2028, "line separator"], [0x2029, "paragraph separator"],
  [0x202a, "left-to-right embedding"], [0x202b, "right-to-left embedding"], [0x202c, "pop direction"],
  [0x202d, "left-to-right override"], [0x202e, "right-to-left override"], [0x2066, "left-to-right isolate"],
  [0x2067, "right-to-left isolate"], [0x2068, "first strong isolate"], [0x2069, "pop isolate"],
  [0xfeff, "byte order mark"],
]);

const hex = (code) => code.toString(16).toUpperCase().padStart(4, "0");

/** What stands for a run of unseen characters: "U+202E", with how many there are of the same. */
function written(run) {
  const parts = [];
  for (const mark of run) {
    const code = mark.codePointAt(0);
    const last = parts.at(-1);
    if (last && last.code === code) last.count += 1;
    else parts.push({ code, count: 1 });
  }
  // A run of many different ones is cut: who looks for them exports the set.
  const kept = parts.slice(0, 20).map(({ code, count }) => `U+${hex(code)}${count > 1 ? `×${count}` : ""}`);
  return kept.join(" ") + (parts.length > 20 ? ` and ${parts.length - 20} more` : "");
}

/** The same as plain text, for attributes and lists. */
export const visible = (text) => text.replace(UNSEEN, (run) => `⟨${written(run)}⟩`);

const escaped = (word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** The words that a search looks for, as an expression; null without a search. */
export function wanted(search) {
  const words = search.split(/\s+/).filter(Boolean).slice(0, 20);
  return words.length ? new RegExp(words.map(escaped).join("|"), "giu") : null;
}

function pieces(text, hits) {
  if (!hits) return [text];
  const parts = [];
  let end = 0;
  for (const hit of text.matchAll(hits)) {
    if (parts.length > 2 * MOST_MARKS) break;
    if (!hit[0]) continue;
    parts.push(text.slice(end, hit.index), make("mark", {}, hit[0]));
    end = hit.index + hit[0].length;
  }
  parts.push(text.slice(end));
  return parts.filter((part) => part !== "");
}

/** The nodes that show a text: text nodes, marks for what is unseen, and <mark> around what was searched for. */
export function nodes(text, hits = null) {
  const runs = [...text.matchAll(UNSEEN)];
  if (runs.length > MOST_MARKS) return pieces(visible(text), hits);
  const parts = [];
  let end = 0;
  for (const run of runs) {
    const name = NAMES.get(run[0].codePointAt(0));
    parts.push(...pieces(text.slice(end, run.index), hits));
    parts.push(make("span", { class: "unseen-mark", title: name ?? "invisible character" }, written(run[0])));
    end = run.index + run[0].length;
  }
  parts.push(...pieces(text.slice(end), hits));
  return parts;
}

/** A short text of others inside a line: isolated, so that its direction turns nothing around it. */
export const inline = (text, attributes = {}) => make("bdi", attributes, ...nodes(String(text)));

/** A long text of others as a block; what is beyond the first part is shown when asked for. */
export function block(text, { hits = null, label = "text" } = {}) {
  const body = make("div", { class: "text", dir: "auto" });
  if (text === "") {
    body.append(make("em", { class: "quiet" }, "empty"));
    return body;
  }
  let shown = Math.min(text.length, FIRST);
  // Not between the halves of a character.
  if (/[\ud800-\udbff]/.test(text[shown - 1]) && shown < text.length) shown += 1;
  body.append(...nodes(text.slice(0, shown), hits));
  if (shown === text.length) return body;
  const rest = text.length - shown;
  const button = make(
    "button",
    {
      type: "button",
      class: "more",
      onclick: () => {
        button.replaceWith(...nodes(text.slice(shown), hits));
      },
    },
    `Show ${rest.toLocaleString("en")} more characters of this ${label}`,
  );
  body.append(button);
  return body;
}
