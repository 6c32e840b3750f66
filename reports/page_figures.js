// Figures, costs, and the theme that both follow.

const theme = () => {
  const style = getComputedStyle(root);
  const color = (name) => style.getPropertyValue(name).trim();
  return { text: color("--text"), soft: color("--soft"), grid: color("--grid"), panel: color("--panel") };
};

// The interval of an entry's mean over its own seeds in a category.
const byCell = new Map();
function cellInterval(place, entry) {
  const key = `${state.budget} ${state.metric}`;
  if (!byCell.has(key)) {
    const { place: places, entry: entries, low, high, kind } = packed.intervals[state.budget]?.[state.metric] ?? { place: [] };
    byCell.set(key, new Map(places.map((one, row) => [`${one} ${entries[row]}`, { low: low[row], high: high[row], kind: kind[row] }])));
  }
  return byCell.get(key).get(`${place} ${entry}`);
}

// What a cell says when pointed at; the rows and columns are escaped, as Plotly wants them.
function withHover(heat) {
  if (!heat) return heat;
  const { places, entries, rows, columns } = heat.layout.meta;
  const text = places.map((place, row) => entries.map((entry, column) => {
    const found = cellInterval(place, entry);
    const chance = found ? `<br>${INTERVALS[found.kind][0]}: ${percent(found.low)} – ${percent(found.high)}` : "";
    return `${rows[row]}<br>${columns[column]}<br>${heat.data[0].z[row][column]?.toFixed(2)} %${chance}`;
  }));
  const [map, ...rest] = heat.data;
  return { ...heat, data: [{ ...map, hovertext: text, hovertemplate: "%{hovertext}<extra></extra>" }, ...rest] };
}

function drawFigures() {
  const figures = packed.figures[current()];
  if (!figures) return;
  const title = metricOf(state.metric)?.title ?? "no metric";
  const heat = withoutHidden("heat", figures.heat[state.metric]);
  byId("heat").style.minWidth = heat ? `${190 + 62 * heat.layout.xaxis.tickvals.length}px` : "";
  const folded = heat?.layout.meta.places[0] === -1;
  byId("heat-caption").textContent = !state.metric ? "" : `${title}, per cent, budget ${state.budget}. Methods in the order of their average rank. ` +
    (folded ? "Too many categories for one figure: each row is the mean over those that a method has of a dataset. Choose a dataset to see its categories." : heat?.conclusion ?? "");
  const ranks = withoutHidden("ranks", figures.ranks[state.metric]);
  byId("ranks").hidden = !ranks;
  const notice = viewNotice() || (figures.heat[state.metric] && !heat ? "All methods are hidden." : "");
  plot("ranks", ranks, "");
  plot("heat", withHover(heat), notice || `No run has a value of ${state.metric ? title : "any metric"} here.`);
  const scatter = withoutHidden("cost", figures.cost[state.metric]?.[state.cost]);
  byId("cost-caption").textContent = scatter?.conclusion ?? "";
  plot("scatter", scatter, notice || `No compared method has both ${state.metric ? title : "a metric"} and ${model.costs[state.cost]}.`);
  drawRoc();
  drawSearch();
  drawCurves();
}

const byRank = (part) => {
  const ranks = part.metrics[state.metric]?.estimates ?? [];
  return [...part.compared].sort((a, b) => (ranks[a]?.rank ?? Infinity) - (ranks[b]?.rank ?? Infinity) || a - b);
};

function drawCosts() {
  const part = slice();
  const names = Object.keys(model.costs);
  byId("costs").hidden = !part.compared.length;
  byId("costs").replaceChildren(
    el("thead", {}, el("tr", {}, ...["Method", ...names.map((name) => model.costs[name]), "Hardware"].map((text) =>
      el("th", { scope: "col", textContent: text, className: text === "Hardware" ? "words" : "" })))),
    el("tbody", {}, ...byRank(part).filter(isShown).map((entry) =>
      el("tr", {}, methodName(entry), ...names.map((name) => el("td", { textContent: amount(part.costs[entry][name]) })),
        el("td", { className: "words", textContent: part.costs[entry].hardware.join("; ") })))),
  );
}

// Theme

const stored = () => {
  try { return localStorage.getItem("adbench-theme"); } catch { return null; }
};
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";

function showTheme() {
  byId("theme").textContent = isDark() ? "Light theme" : "Dark theme";
  if (model) drawFigures();
}

function startTheme() {
  if (["dark", "light"].includes(stored())) root.dataset.theme = stored();
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("adbench-theme", root.dataset.theme); } catch { /* a file without storage still toggles */ }
    showTheme();
  });
  prefersDark.addEventListener("change", showTheme);
  showTheme();
}

function startPrint() {
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    drawFigures();
    drawPending();
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    drawFigures();
  });
}
