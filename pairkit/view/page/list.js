// The list: rows of one height, of which those in sight exist, fetched in pages as one scrolls.
import { make } from "./dom.js";

const ROW = 84; // pixels; view.css has the same
const PAGE = 50;
const TALLEST = 12e6; // pixels: browsers cap the height of an element, a million rows are higher

/**
 * Make the list in an element.
 *
 * fetchPage(offset, limit) promises rows; renderRow(row) returns nodes; onOpen(row, index) opens what is selected;
 * onMove(row, index) hears of a selection.
 */
export function createList(scroller, { fetchPage, renderRow, onOpen, onMove }) {
  let total = 0;
  let pages = new Map(); // by number: rows, or the promise of them
  let selected = -1;
  let generation = 0;
  let planned = false;
  const options = new Map(); // by index: the element of a row in sight, and the row
  const spacer = make("div", { class: "spacer", "aria-hidden": "true" });

  scroller.replaceChildren(spacer);
  scroller.tabIndex = 0;
  scroller.setAttribute("role", "listbox");
  scroller.setAttribute("aria-label", "Sets");
  scroller.addEventListener("scroll", plan, { passive: true });
  new ResizeObserver(plan).observe(scroller);
  scroller.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (!option) return;
    select(Number(option.dataset.index), { scroll: false });
    open();
  });
  scroller.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: inSight(), PageUp: -inSight(), Home: -total, End: total };
    if (event.key in step) move(step[event.key]);
    else if (event.key === "Enter" || event.key === " ") open();
    else return;
    event.preventDefault();
  });

  const inSight = () => Math.max(1, Math.floor(scroller.clientHeight / ROW) - 1);
  const rowAt = (index) => {
    const page = pages.get(Math.floor(index / PAGE));
    return Array.isArray(page) ? page[index % PAGE] : undefined;
  };

  /** How many pixels of all rows are above the upper edge: more than are scrolled where the height is capped. */
  function hidden() {
    const sight = scroller.clientHeight;
    const [real, capped] = [total * ROW - sight, spacer.offsetHeight - sight];
    return capped <= 0 || real <= capped ? scroller.scrollTop : (scroller.scrollTop * real) / capped;
  }

  function scrollToPixel(pixel) {
    const sight = scroller.clientHeight;
    const [real, capped] = [total * ROW - sight, spacer.offsetHeight - sight];
    scroller.scrollTop = real <= capped || real <= 0 ? pixel : (pixel * capped) / real;
  }

  function plan() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      render();
    });
  }

  function render() {
    const above = hidden();
    const first = Math.max(0, Math.floor(above / ROW) - 3);
    const last = Math.min(total, Math.ceil((above + scroller.clientHeight) / ROW) + 3);
    for (const [index, { element }] of options) {
      if (index >= first && index < last) continue;
      element.remove();
      options.delete(index);
    }
    for (let index = first; index < last; index += 1) place(index, scroller.scrollTop - above);
    // Only what exists can be named as active.
    const active = selected >= first && selected < last;
    if (active) scroller.setAttribute("aria-activedescendant", `option-${selected}`);
    else scroller.removeAttribute("aria-activedescendant");
    for (let page = Math.floor(first / PAGE); page * PAGE < last; page += 1) load(page);
  }

  /** Put a row in its place; its element stays the same while the row does, so that a click ends where it began. */
  function place(index, shift) {
    const row = rowAt(index);
    if (!options.has(index) || options.get(index).row !== row) {
      const made = option(index, row);
      const before = options.get(index)?.element;
      // In the order of the rows, which is the order in which they are read out.
      if (before) before.replaceWith(made);
      else scroller.insertBefore(made, next(index));
      options.set(index, { row, element: made });
    }
    const { element } = options.get(index);
    element.setAttribute("aria-selected", String(index === selected));
    element.style.transform = `translateY(${Math.round(shift + index * ROW)}px)`;
  }

  function next(index) {
    const later = [...options.keys()].filter((other) => other > index);
    return later.length ? options.get(Math.min(...later)).element : null;
  }

  function option(index, row) {
    return make(
      "div",
      {
        role: "option",
        id: `option-${index}`,
        class: row ? "row" : "row waiting",
        "data-index": index,
        "aria-setsize": total,
        "aria-posinset": index + 1,
      },
      row ? renderRow(row) : "Loading …",
    );
  }

  /** Fetch a page unless it is here or on its way; one that fails is tried again when it is next in sight. */
  async function load(number) {
    if (pages.has(number)) return;
    const current = generation;
    const promise = fetchPage(number * PAGE, PAGE);
    pages.set(number, promise);
    try {
      const rows = await promise;
      if (current === generation) pages.set(number, rows);
    } catch (error) {
      if (current === generation) pages.delete(number);
      if (error.name !== "AbortError") throw error;
      return;
    }
    if (current === generation) plan();
  }

  function select(index, { scroll = true } = {}) {
    selected = Math.max(-1, Math.min(total - 1, index));
    if (scroll && selected >= 0) {
      const [top, above] = [selected * ROW, hidden()];
      if (top < above) scrollToPixel(top);
      else if (top + ROW > above + scroller.clientHeight) scrollToPixel(top + ROW - scroller.clientHeight);
    }
    render();
  }

  async function withRow(index, use) {
    if (index < 0 || index >= total) return;
    const page = Math.floor(index / PAGE);
    await load(page);
    await pages.get(page);
    const row = rowAt(index);
    if (row && index === selected) use(row, index);
  }

  function move(step) {
    if (!total) return;
    select(Math.max(0, Math.min(total - 1, selected + step)));
    withRow(selected, onMove);
  }

  function open() {
    withRow(selected, onOpen);
  }

  return {
    move,
    open,
    /** Select the first row without opening it. */
    first: () => total && select(0),
    focus: () => scroller.focus({ preventScroll: true }),
    selectedIndex: () => selected,
    /** Show other rows: the first page is at hand. With `keep`, the place and the selection stay. */
    update(count, rows, { keep = false } = {}) {
      generation += 1;
      total = count;
      pages = new Map([[0, rows]]);
      spacer.style.height = `${Math.min(total * ROW, TALLEST)}px`;
      if (!keep) {
        selected = -1;
        scroller.scrollTop = 0;
      } else if (selected >= total) selected = -1;
      render();
    },
    /** Select the row that `is` says, among those that are here. */
    find(is) {
      for (const [number, page] of pages) {
        const index = Array.isArray(page) ? page.findIndex(is) : -1;
        if (index >= 0) return select(number * PAGE + index);
      }
    },
    /** Change rows that are here, such as the label of a set. */
    change(is, values) {
      for (const page of pages.values()) {
        // Another object, which is another row to `place`.
        if (Array.isArray(page)) page.forEach((row, index) => is(row) && (page[index] = { ...row, ...values }));
      }
      render();
    },
    refresh: plan,
  };
}
