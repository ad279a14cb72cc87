// A histogram that filters: drag over it, or move its two ends with the keyboard.
import { make, makeSvg } from "./dom.js";
import { count, number } from "./format.js";
import { range } from "./state.js";

const [WIDTH, HEIGHT] = [240, 48];

/** Make one; onChange(filter) gets {min, max} or null. Returns its element, and update(data, filter). */
export function createHistogram({ label, onChange }) {
  let edges = [];
  let ends = [0, 0]; // the selected bins: from the first, to before the second
  const bars = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const plot = make("div", { class: "plot" }, bars);
  const handles = [0, 1].map((which) =>
    make("div", {
      role: "slider",
      class: "handle",
      tabindex: "0",
      "aria-label": `${label}, ${which ? "at most" : "at least"}`,
      onkeydown: (event) => pressed(event, which),
    }),
  );
  plot.append(...handles);
  const inputs = [0, 1].map((which) =>
    make("input", {
      type: "number",
      step: "any",
      "aria-label": `${label}, ${which ? "at most" : "at least"}, as a number`,
      onchange: typed,
    }),
  );
  const note = make("p", { class: "quiet note" });
  const element = make("div", { class: "histogram" }, plot, make("div", { class: "ends" }, inputs[0], "to", inputs[1]), note);

  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || bins() < 1) return;
    event.preventDefault();
    plot.setPointerCapture(event.pointerId);
    const anchor = binAt(event);
    const drag = (moved) => {
      const here = binAt(moved);
      ends = [Math.min(anchor, here), Math.max(anchor, here) + 1];
      draw();
    };
    drag(event);
    plot.addEventListener("pointermove", drag);
    plot.addEventListener(
      "lostpointercapture",
      () => {
        plot.removeEventListener("pointermove", drag);
        commit();
      },
      { once: true },
    );
  });

  const bins = () => Math.max(0, edges.length - 1);
  function binAt(event) {
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return Math.max(0, Math.min(bins() - 1, Math.floor(share * bins())));
  }

  const later = (() => {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(commit, 250);
    };
  })();

  function pressed(event, which) {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
    if (event.key === "Escape" && narrowed()) {
      onChange(null);
      event.stopPropagation();
    } else if (step) ends[which] += step;
    else if (event.key === "Home") ends[which] = which ? ends[0] + 1 : 0;
    else if (event.key === "End") ends[which] = which ? bins() : ends[1] - 1;
    else return;
    event.preventDefault();
    ends[which] = which
      ? Math.min(bins(), Math.max(ends[0] + 1, ends[1]))
      : Math.max(0, Math.min(ends[1] - 1, ends[0]));
    draw();
    later();
  }

  function typed() {
    const [min, max] = inputs.map((input) => (input.value === "" ? null : Number(input.value)));
    onChange(min === null && max === null ? null : range(min, max));
  }

  const narrowed = () => ends[0] > 0 || ends[1] < bins();

  function commit() {
    if (!bins()) return;
    // The outermost edges are no bounds: values may lie on them.
    const min = ends[0] > 0 ? edges[ends[0]] : null;
    const max = ends[1] < bins() ? edges[ends[1]] : null;
    onChange(min === null && max === null ? null : range(min, max));
  }

  function draw() {
    for (const [index, bar] of [...bars.children].entries()) {
      bar.setAttribute("class", index >= ends[0] && index < ends[1] ? "in" : "out");
    }
    for (const [which, handle] of handles.entries()) {
      handle.style.left = `${(100 * ends[which]) / Math.max(1, bins())}%`;
      handle.setAttribute("aria-valuemin", "0");
      handle.setAttribute("aria-valuemax", String(bins()));
      handle.setAttribute("aria-valuenow", String(ends[which]));
      handle.setAttribute("aria-valuetext", number(edges[ends[which]]));
    }
    plot.classList.toggle("narrowed", narrowed());
  }

  return {
    element,
    update(data, filter) {
      edges = data.edges;
      const most = Math.max(1, ...data.counts);
      const wide = WIDTH / Math.max(1, bins());
      bars.replaceChildren(
        ...data.counts.map((value, index) => {
          // What is there is seen, however little.
          const high = value ? Math.max(1.5, (value / most) * (HEIGHT - 2)) : 0;
          const place = { x: index * wide + 0.5, y: HEIGHT - high, width: Math.max(0.5, wide - 1), height: high };
          const span = `${number(edges[index])} to ${number(edges[index + 1])}: ${count(value)}`;
          return makeSvg("rect", place, makeSvg("title", {}, span));
        }),
      );
      ends = [0, bins()];
      if (filter?.min !== undefined) ends[0] = Math.max(0, edges.findLastIndex((edge) => edge <= filter.min));
      if (filter?.max !== undefined) {
        const end = edges.findIndex((edge) => edge >= filter.max);
        ends[1] = end < 0 ? bins() : Math.max(ends[0] + 1, end);
      }
      ends[0] = Math.min(ends[0], Math.max(0, bins() - 1));
      for (const [which, name] of ["min", "max"].entries()) {
        if (document.activeElement !== inputs[which]) inputs[which].value = filter?.[name] ?? "";
      }
      inputs[0].placeholder = bins() ? number(edges[0]) : "";
      inputs[1].placeholder = bins() ? number(edges.at(-1)) : "";
      note.textContent = data.missing ? `${count(data.missing)} without it` : "";
      plot.hidden = !bins();
      draw();
    },
  };
}
