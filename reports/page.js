// Displays what the page's JSON holds. Names from data reach the document only as text nodes.
// page.py joins this file, as the last, with the other scripts into one.

const byId = (id) => document.getElementById(id);
const root = document.documentElement;
const state = { budget: "", modality: "", dataset: "", metric: "", cost: "fit_seconds" };
const sorting = { key: "rank", ascending: true };
let model;
let packed = { runs: { count: 0, total: 0, columns: {}, files: [] }, figures: [], comparisons: [], intervals: {}, views: {} };

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && !name.startsWith("aria")) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Runs a library whose hash is in the page's policy, so late that it does not keep the page from opening.
function runScript(text) {
  const script = el("script", { textContent: text });
  document.head.append(script);
  script.remove();
}

const percent = (value) => (100 * value).toFixed(1);
const amount = (value) =>
  value === null || value === undefined ? "–" : value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
const metricOf = (name) => model.metrics.find((metric) => metric.name === name);

// Filters

// Without a chosen modality a dataset's slice is found by the dataset alone.
const current = () =>
  model.slices.findIndex(
    (part) =>
      part.budget === state.budget &&
      (part.dataset ?? "") === state.dataset &&
      (part.modality === state.modality || !state.modality && (part.modality === null || state.dataset)),
  );
const slice = () => model.slices[current()];

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => el("option", { value, textContent: text })));
  select.value = options.some(([value]) => value === chosen) ? chosen : options[0][0];
  select.disabled = options.length < 2;
  return select.value;
}

function chooseFilters() {
  const inBudget = model.slices.filter((part) => part.budget === state.budget);
  const modalities = inBudget.filter((part) => part.modality !== null && part.dataset === null).map((part) => part.modality);
  state.budget = fill(byId("budget"), model.budgets.map((name) => [name, name]), state.budget);
  state.modality = fill(byId("modality"), [["", "all"], ...modalities.map((name) => [name, name])], state.modality);
  const datasets = inBudget.filter((part) => part.dataset !== null && (!state.modality || part.modality === state.modality));
  state.dataset = fill(
    byId("dataset"),
    [["", "all"], ...datasets.map((part) => [part.dataset, part.dataset])],
    state.dataset,
  );
  const names = model.metrics.map((metric) => [metric.name, metric.title]);
  const chosen = fill(byId("metric"), names.length ? names : [["", "none"]], state.metric);
  state.metric = names.length ? chosen : "";
  state.cost = fill(byId("cost-axis"), Object.entries(model.costs), state.cost);
}

// Headline table

const INTERVALS = {
  images: ["95 % interval over test images", "images"],
  "images+seeds": ["95 % interval over test images and seeds", "images + seeds"],
  seeds: ["95 % interval over seeds", "seeds"],
  range: ["the mean of the categories' lowest and highest seed, dashed (too few seeds for an interval)", "seed min–max"],
  none: ["one seed: no interval", "one seed"],
};
const visible = new Set();

function columns(part) {
  const ranks = part.metrics[state.metric]?.estimates ?? [];
  const title = metricOf(state.metric)?.title ?? "";
  return [
    { key: "method", title: "Method", ascending: true, value: (entry) => model.entries[entry].label },
    { key: "rank", title: "Avg. rank", by: title, ascending: true, value: (entry) => ranks[entry]?.rank, text: (v) => v.toFixed(2) },
    { key: "wins", title: "Wins", by: title, ascending: false, value: (entry) => ranks[entry]?.wins, text: String },
    ...model.metrics
      .filter((metric) => visible.has(metric.name) && part.metrics[metric.name])
      .map((metric) => ({
        key: metric.name,
        title: metric.title,
        metric,
        aggregate: part.metrics[metric.name],
        sub: plural(part.metrics[metric.name].n_categories, "category", "categories"),
        ascending: !metric.higher,
        value: (entry) => part.metrics[metric.name].estimates[entry]?.mean,
      })),
    ...["fit_seconds", "predict_ms_per_image"].map((name) => ({
      key: name, title: model.costs[name], ascending: true, value: (entry) => part.costs[entry]?.[name], text: amount,
    })),
  ];
}

// Not by DataTables, as the run table: rows that are not compared, or published, stay last in groups of their own, and
// the few rows are there before that library is.
function sorted(entries, column) {
  const sign = sorting.ascending ? 1 : -1;
  return [...entries].sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    const gaps = (x === null || x === undefined) - (y === null || y === undefined);
    if (gaps) return gaps;
    const sense = typeof x === "string" ? x.localeCompare(y) : x - y;
    return sign * sense || a - b;
  });
}

function header(column) {
  const active = sorting.key === column.key;
  const cell = el("th", { scope: "col", "data-key": column.key });
  if (active) cell.setAttribute("aria-sort", sorting.ascending ? "ascending" : "descending");
  const sort = () => {
    sorting.ascending = active ? !sorting.ascending : column.ascending;
    sorting.key = column.key;
    drawHeadline();
    document.querySelector(`#headline th[data-key="${column.key}"] button`).focus();
  };
  cell.append(el("button", { type: "button", className: "sort", textContent: column.title, title: column.metric?.definition ?? "", onclick: sort }));
  if (column.metric && !column.metric.higher) cell.append(el("span", { className: "sub", textContent: "lower is better" }));
  if (column.by) cell.append(el("span", { className: "sub by", textContent: column.by }));
  if (column.sub) cell.append(el("span", { className: "sub", textContent: column.sub }));
  if (column.aggregate) cell.append(el("span", { className: "sub", textContent: INTERVALS[column.aggregate.interval][1] }));
  return cell;
}

function metricCell(column, entry, span) {
  const estimate = column.aggregate.estimates[entry];
  if (!estimate) return el("td", { textContent: "–", title: "undefined in the compared cells" });
  const kind = column.aggregate.interval;
  const cell = el("td", { title: INTERVALS[kind][0] }, el("span", { className: "mean", textContent: percent(estimate.mean) }));
  if (percent(estimate.mean) === percent(span.best)) {
    cell.classList.add("best");
    cell.append(el("span", { className: "hidden", textContent: "best" }));
  }
  if (estimate.low !== null) {
    const between = `${percent(estimate.low)} – ${percent(estimate.high)}`;
    cell.append(el("span", { className: "interval", textContent: kind === "range" ? between : `[${between}]` }));
    const at = (value) => `${(100 * (value - span.low)) / (span.high - span.low || 1)}%`;
    const band = el("i");
    band.style.left = at(estimate.low);
    band.style.width = `calc(${at(estimate.high)} - ${at(estimate.low)})`;
    const mark = el("b");
    mark.style.left = at(estimate.mean);
    cell.append(el("span", { className: kind === "range" ? "bar dashed" : "bar", "aria-hidden": "true" }, band, mark));
  }
  return cell;
}

function spanOf(column) {
  const known = column.aggregate.estimates.filter(Boolean);
  const means = known.map((estimate) => estimate.mean);
  return {
    low: Math.min(...known.map((estimate) => estimate.low ?? estimate.mean)),
    high: Math.max(...known.map((estimate) => estimate.high ?? estimate.mean)),
    best: column.metric.higher ? Math.max(...means) : Math.min(...means),
  };
}

function methodName(entry) {
  const { method, settings, selection, versions, search } = model.entries[entry];
  const cell = el("th", { scope: "row" }, cardButton("method", method));
  if (settings) cell.append(el("span", { className: "sub wrap", textContent: settings }));
  if (selection !== "none") cell.append(el("span", { className: `chip ${selection}`, textContent: `tuned on ${selection}` }));
  if (search) cell.append(el("span", { className: "sub", textContent: search }));
  if (versions.length > 1) cell.append(el("span", { className: "sub", textContent: `versions ${versions.join(", ")} mixed` }));
  return cell;
}

// A method that lacks cells takes them from all: its row says so.
function withCoverage(cell, { finished, n_cells: all }, entry) {
  if (finished[entry] < all) cell.append(el("span", { className: "sub", textContent: `finished ${finished[entry]} of ${all} cells` }));
  return cell;
}

// What others have published: beside the runs of that dataset, in no rank, interval or mark of the best.

function publishedHere(part) {
  const datasets = model.slices.filter((one) => one.budget === part.budget && one.dataset !== null &&
    (part.modality === null || one.modality === part.modality)).map((one) => one.dataset);
  const dataset = part.dataset ?? (datasets.length === 1 ? datasets[0] : null);
  return model.published.filter((one) => one.dataset === dataset);
}

function publishedRow(one, all) {
  const name = el("th", { scope: "row", title: one.source }, one.method,
    el("span", { className: "chip", textContent: "published" }),
    el("span", { className: "sub wrap", textContent: one.category ? `${one.dataset}/${one.category}` : `${one.dataset}, all categories` }));
  const values = all.slice(1).map(({ key }) => el("td", { textContent: key in one.values ? percent(one.values[key]) : "" }));
  return el("tr", { className: "apart published" }, name, ...values);
}

function drawPublishedNote() {
  const sources = [...new Set(publishedHere(slice()).map((one) => `${one.method}: ${one.source}`))];
  byId("published-note").hidden = !byId("published").checked;
  byId("published-note").textContent = sources.length
    ? "Published values are quoted, not measured here: other splits, sizes, weights and metric code may lie behind them. They are " +
      `never ranked. ${sources.join("; ")}.`
    : `Published values are of single datasets: choose one above (${[...new Set(model.published.map((one) => one.dataset))].join(", ")}).`;
}

function drawHeadline() {
  const part = slice();
  const all = columns(part);
  const column = all.find((one) => one.key === sorting.key) ?? all[1];
  const spans = new Map(all.filter((one) => one.aggregate).map((one) => [one.key, spanOf(one)]));
  const body = sorted(part.compared.filter(isShown), column).map((entry) =>
    el("tr", { "data-entry": entry }, ...all.map((one, index) => {
      if (index === 0) return withCoverage(methodName(entry), part, entry);
      if (one.aggregate) return metricCell(one, entry, spans.get(one.key));
      const value = one.value(entry);
      return el("td", { textContent: value === null || value === undefined ? "–" : one.text(value) });
    })),
  );
  const apart = part.not_compared.filter(([entry]) => isShown(entry)).map(([entry, reason]) =>
    el("tr", { className: "apart" }, methodName(entry), el("td", { className: "words", colSpan: all.length - 1, textContent: `not compared: ${reason}` })),
  );
  const published = byId("published").checked ? publishedHere(part).map((one) => publishedRow(one, all)) : [];
  byId("headline").replaceChildren(
    el("caption", { className: "hidden", textContent: "Methods with their mean metrics, ranks and costs" }),
    el("thead", {}, el("tr", {}, ...all.map(header))),
    el("tbody", {}, ...body),
    ...(apart.length ? [el("tbody", {}, ...apart)] : []),
    ...(published.length ? [el("tbody", {}, ...published)] : []),
  );
  drawPublishedNote();
  byId("headline-latex").hidden = !packed.latex?.[current()];  // where nothing is compared there is none
  writeAddress();
}

function drawScope() {
  const part = slice();
  const lost = part.n_cells - part.n_shared_cells;
  const words = part.compared.length
    ? `${plural(part.compared.length, "method")} compared on ${part.n_shared_cells} of ${plural(part.n_cells, "cell")}, in ` +
      `${part.n_shared_categories} of ${plural(part.n_categories, "category", "categories")}, ${viewInWords()}.`
    : `No cell is shared by the methods of budget ${part.budget}: there is nothing to compare.`;
  const warning = part.budget === "smoke" ? " Budget smoke proves that everything runs; its numbers say nothing about methods." : "";
  byId("scope").textContent = (lost ? `${words} ${plural(lost, "cell")} left out.` : `${words} None is left out.`) + warning;
  const list = byId("left-out");
  list.hidden = !lost;
  list.querySelector("summary").textContent = `${plural(lost, "cell")} left out of means and ranks`;
  list.querySelector("ul").replaceChildren(...part.left_out.map((text) => el("li", { textContent: text })));
  const kinds = new Set(Object.values(part.metrics).map((aggregate) => aggregate.interval));
  byId("legend").hidden = !kinds.size;
  byId("legend").textContent = `Per cent. ★ best in its column (as shown). Under each mean: ${[...kinds].map((kind) => INTERVALS[kind][0]).join("; or, where its heading says so, ")}.`;
}

function drawColumnChoice() {
  const box = (metric) => {
    const input = el("input", { type: "checkbox", value: metric.name, onchange: () => {
      input.checked ? visible.add(metric.name) : visible.delete(metric.name);
      drawHeadline();
    } });
    return el("label", { title: metric.definition }, input, metric.title);
  };
  byId("columns").append(...model.metrics.map(box));
}

// What is wider than its place fades at the edges beyond which there is more.

function startScroll() {
  const mark = (node) => {
    const hidden = node.scrollWidth - node.clientWidth - node.scrollLeft;
    node.classList.toggle("more-right", hidden > 1);
    node.classList.toggle("more-left", node.scrollLeft > 1);
  };
  const all = () => document.querySelectorAll(".scroll").forEach(mark);
  document.addEventListener("scroll", (event) => event.target.classList?.contains("scroll") && mark(event.target), true);
  document.addEventListener("toggle", all, true);
  const resized = new ResizeObserver(all);
  for (const node of document.querySelectorAll(".scroll")) for (const one of [node, ...node.children]) resized.observe(one);
  all();
}

// Start

function startGallery() {
  let tiles;
  const show = (node) => {
    tiles ??= JSON.parse(byId("tiles").textContent);
    for (const image of node.querySelectorAll("img[data-tile]:not([src])")) image.src = tiles[Number(image.dataset.tile)];
  };
  for (const node of document.querySelectorAll("details.gallery")) node.addEventListener("toggle", () => node.open && show(node));
}

function draw() {
  chooseFilters();
  loadView();
  drawMethodChoice();
  drawScope();
  drawHeadline();
  drawFigures();
  drawDifference();
  drawCosts();
  drawDetails();
  drawRuns();
  drawGallery();
  drawCoverage();
  writeAddress();
}

async function startBoard() {
  model = await unpacked(byId("model").textContent);
  startGallery();
  drawColumnChoice();
  readAddress();
  draw();
  for (const name of ["budget", "modality", "dataset", "metric"]) {
    byId(name).addEventListener("change", (event) => {
      state[name] = event.target.value;
      if (name === "modality") state.dataset = "";
      draw();
    });
  }
  byId("published-choice").hidden = !model.published.length;
  byId("published").addEventListener("change", drawHeadline);
  byId("cost-axis").addEventListener("change", (event) => {
    state.cost = event.target.value;
    drawFigures();
    writeAddress();
  });
  for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
  byId("headline-csv").addEventListener("click", headlineCsv);
  byId("headline-latex").addEventListener("click", () => save("adbench-leaderboard.tex", "application/x-tex", packed.latex[current()]));
  byId("difference-csv").addEventListener("click", differenceCsv);
  startMethods();
  startMenus();
  startRoc();
  startSearch();
  startCurves();
  startPrint();
  packed = await unpacked(byId("packed").textContent);
  draw();
  startScroll();
  startAddress();
  startCards();
  startRuns();
}

async function start() {
  startTheme();
  const empty = !byId("filters");
  if (!empty) await startBoard();
  root.dataset.ready = "true";  // all but the figures
  if (!empty) await startFigures();
}

start();
