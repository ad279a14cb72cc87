// JSON laid out in lines. The text itself is kept, because a parsed number may lose digits.

const LONGEST = 200_000; // characters that are laid out
const DEEPEST = 60;

/** Lay out a text of JSON; another text, a very long or deep one, and a short one are returned as they are. */
export function laidOut(text) {
  if (text.length > LONGEST || text.length < 60 || !isJson(text)) return text;
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gs)) {
    if (token === "{" || token === "[") {
      depth += 1;
      if (depth > DEEPEST) return text;
      out += token + line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      out = /[{[]\s*$/.test(out.slice(-2 * DEEPEST - 4)) ? out.trimEnd() + token : out + line() + token;
    } else if (token === ",") out += token + line();
    else out += token === ":" ? ": " : token;
  }
  return out;
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
