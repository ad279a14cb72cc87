// Elements are made here and nowhere from text: no file of this page parses a string as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `attributes` whose names begin with "on" are listeners; true and false switch, null leaves out. */
export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function makeSvg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Say something to a screen reader; the same words twice are said twice. */
export function say(words) {
  const place = byId("said");
  place.textContent = place.textContent === words ? `${words} ` : words;
}

/** Run a function once, when it has not been called again for so many milliseconds. */
export function settled(milliseconds, run) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...values), milliseconds);
  };
}
