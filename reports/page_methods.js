// Which methods are shown: a choice of display alone, kept in the page's address. All still count, and the page says so.

const hiddenMethods = new Set();
const isShown = (entry) => !hiddenMethods.has(entry);

const methodsHere = () => [...slice().compared, ...slice().not_compared.map(([entry]) => entry)]
  .sort((a, b) => model.entries[a].label.localeCompare(model.entries[b].label));

function hiddenHere() {
  return methodsHere().filter((entry) => !isShown(entry)).map((entry) => model.entries[entry].label);
}

function methodBox(entry) {
  const input = el("input", { type: "checkbox", value: String(entry), onchange: () => {
    input.checked ? hiddenMethods.delete(entry) : hiddenMethods.add(entry);
    draw();
  } });
  return el("label", {}, input, el("span", { textContent: model.entries[entry].label }));
}

// The boxes stay while one of them is clicked: whoever uses the keyboard would lose the place.
function drawMethodChoice() {
  const here = methodsHere();
  const list = byId("method-boxes");
  if (list.dataset.entries !== String(here)) list.replaceChildren(...here.map(methodBox));
  list.dataset.entries = String(here);
  for (const box of list.querySelectorAll("input")) box.checked = isShown(Number(box.value));
  const hidden = hiddenHere();
  byId("method-count").textContent = hidden.length ? `Methods: ${here.length - hidden.length} of ${here.length}` : "Methods: all";
  byId("hidden-note").hidden = !hidden.length;
  byId("hidden-note").textContent = hidden.length
    ? `Hidden: ${listed(hidden, 8)}. Only the display changes: what is hidden still counts in ranks, wins, ★, tests, the Pareto front ` +
      "and all sentences, and stays in CSV files, search, curves, coverage and the run table."
    : "";
}

function startMethods() {
  for (const [id, change] of [["methods-all", (entry) => hiddenMethods.delete(entry)], ["methods-none", (entry) => hiddenMethods.add(entry)]]) {
    byId(id).addEventListener("click", () => { methodsHere().forEach(change); draw(); });
  }
}

// A menu closes by Escape, which gives the focus back, and by a click elsewhere.
function startMenus() {
  for (const menu of document.querySelectorAll("details.menu")) {
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
    document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  }
}

// Figures without the hidden methods; null if none is left.

function withoutHidden(kind, figure) {
  if (!figure || !hiddenMethods.size) return figure;
  return { heat: heatWithout, ranks: ranksWithout, cost: costWithout, lines: linesWithout }[kind](figure);
}

const keptOf = (entries) => entries.map((_, place) => place).filter((place) => isShown(entries[place]));

// A trace with the points of these places alone, in all that it holds for each point.
function ofPoints(value, kept, length) {
  if (Array.isArray(value)) return value.length === length ? kept.map((place) => value[place]) : value;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, ofPoints(one, kept, length)]));
}
const points = (trace, kept) => ofPoints(trace, kept, trace.x.length);

function heatWithout({ conclusion, data: [map, ...marks], layout }) {
  const kept = keptOf(layout.meta.entries);
  if (!kept.length) return null;
  const pick = (values) => kept.map((column) => values[column]);
  const moved = marks.map((mark) => {
    const own = points(mark, mark.x.map((_, place) => place).filter((place) => kept.includes(mark.x[place])));
    return { ...own, x: own.x.map((column) => kept.indexOf(column)) };
  });
  const xaxis = { ...layout.xaxis, tickvals: kept.map((_, place) => place), ticktext: pick(layout.xaxis.ticktext), range: [-0.5, kept.length - 0.5] };
  return {
    conclusion,
    data: [{ ...map, z: map.z.map(pick) }, ...moved],
    layout: { ...layout, xaxis, meta: { ...layout.meta, entries: pick(layout.meta.entries), columns: pick(layout.meta.columns) } },
  };
}

// Rows below a hidden one move up; the axis of ranks and the bars stay as they are.
function ranksWithout({ data: [stems, dots, ...others], layout }) {
  const { entries, row } = layout.meta;
  const kept = keptOf(entries);
  if (!kept.length) return null;
  const gone = entries.length - kept.length;
  const tickvals = layout.yaxis.tickvals.slice(0, kept.length);
  const last = layout.yaxis.tickvals.at(-1);
  const stem = kept.flatMap((place, index) => [0, 1, 2, 3].map((corner) => ({
    x: stems.x[4 * place + corner], y: corner === 1 || corner === 2 ? tickvals[index] : stems.y[4 * place + corner],
  })));
  const below = (y) => (y > last ? y - gone : y);
  return {
    data: [
      { ...stems, x: stem.map((one) => one.x), y: stem.map((one) => one.y) },
      { ...points(dots, kept), y: tickvals },
      ...others.map((one) => ({ ...one, y: one.y.map((y) => (y === null ? null : below(y))) })),
    ],
    layout: {
      ...layout, height: layout.height - row * gone,
      yaxis: { ...layout.yaxis, tickvals, ticktext: kept.map((place) => layout.yaxis.ticktext[place]), range: [layout.yaxis.range[0] - gone, 0] },
    },
  };
}

function costWithout(figure) {
  return { ...figure, data: figure.data.map((trace) => (trace.meta ? points(trace, keptOf(trace.meta.entries)) : trace)) };
}

function linesWithout(figure) {
  return { ...figure, data: figure.data.filter((trace) => isShown(trace.meta?.entry)) };
}
