// Every seed of a dataset, and what can be downloaded.

function rowsWhere(test) {
  const found = [];
  for (let row = 0; row < packed.runs.count; row += 1) if (test(row)) found.push(row);
  return found;
}

function withEnds(text, low, high, title) {
  const known = low !== null && low !== undefined;
  return el("td", { title: known ? title : "" }, text, known ? el("span", { className: "interval", textContent: `[${percent(low)} – ${percent(high)}]` }) : null);
}

const SIZES = { n_train: "Train", n_labelled: "Labelled", n_val: "Val", n_test: "Test" };  // images

function detailTable(dataset) {
  const runs = packed.runs.columns;
  const own = rowsWhere((row) => runs.standing[row] === "current" && runs.budget[row] === state.budget && runs.dataset[row] === dataset && isShown(runs.entry[row]));
  const seeds = [...new Set(own.map((row) => runs.seed[row]))].sort((a, b) => a - b);
  const groups = new Map();
  for (const row of own) {
    const key = `${runs.place[row]} ${runs.entry[row]}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  }
  const spread = (rows, name) => {
    const known = rows.map((row) => runs[name][row]).filter((value) => value !== null);
    if (!known.length) return "–";
    const [low, high] = [Math.min(...known), Math.max(...known)];
    return low === high ? String(low) : `${low}–${high}`;
  };
  const counts = Object.keys(SIZES);
  const body = [...groups.values()]
    .sort((a, b) => runs.place[a[0]] - runs.place[b[0]] || runs.entry[a[0]] - runs.entry[b[0]])
    .map((rows, index, all) => {
      const place = runs.place[rows[0]];
      const first = !index || runs.place[all[index - 1][0]] !== place;
      const bySeed = new Map(rows.map((row) => [runs.seed[row], row]));
      const values = rows.map((row) => runs[state.metric][row]).filter((value) => value !== null);
      const around = cellInterval(place, runs.entry[rows[0]]);
      const mean = values.length ? percent(values.reduce((sum, value) => sum + value, 0) / values.length) : "–";
      return el("tr", {},
        first ? el("th", {
          scope: "rowgroup", textContent: model.categories[place].label,
          rowSpan: all.filter((other) => runs.place[other[0]] === place).length,
        }) : null,
        el("td", { className: "words", textContent: model.entries[runs.entry[rows[0]]].label }),
        ...counts.map((name) => el("td", { textContent: spread(rows, name) })),
        ...seeds.map((seed) => {
          const row = bySeed.get(seed);
          if (row === undefined) return el("td", { textContent: "·", title: "not run" });
          if (runs.status[row] !== "ok") return el("td", { textContent: "✕", title: "failed" });
          const value = runs[state.metric][row];
          const [low, high] = [runs[`${state.metric}_low`]?.[row], runs[`${state.metric}_high`]?.[row]];
          return withEnds(value === null ? "–" : percent(value), low, high, INTERVALS.images[0]);
        }),
        withEnds(mean, around?.low, around?.high, around && INTERVALS[around.kind][0]));
    });
  const head = ["Category", "Method", ...Object.values(SIZES), ...seeds.map((seed) => `seed ${seed}`), "mean"];
  return el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `Values of ${dataset}` },
    el("table", { className: "numbers details-table" },
      el("thead", {}, el("tr", {}, ...head.map((text, index) => el("th", { scope: "col", textContent: text, className: index === 1 ? "words" : "" })))),
      el("tbody", {}, ...body)));
}

async function openDetails(node, dataset) {
  const place = el("div", { className: "fine", textContent: "Loading…" });
  node.append(place);
  const problem = await loadRuns((file) => file.datasets.includes(dataset));
  place.replaceWith(problem ? el("p", { className: "warning", textContent: problem }) : detailTable(dataset));
}

function drawDetails() {
  const open = new Set([...byId("details").querySelectorAll("details[open]")].map((node) => node.dataset.name));
  const names = [...new Set(model.slices
    .filter((part) => part.budget === state.budget && part.dataset !== null && (!state.modality || part.modality === state.modality) && (!state.dataset || part.dataset === state.dataset))
    .map((part) => part.dataset))];
  byId("details").replaceChildren(...names.map((name) => {
    const node = el("details", {}, el("summary", { textContent: `${name}: every seed, and the sizes of its splits` }));
    node.dataset.name = name;
    node.addEventListener("toggle", () => {
      if (node.open && node.children.length === 1) openDetails(node, name);
    });
    node.open = open.has(name);
    return node;
  }));
}

// Downloads

const csvField = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const csv = (rows) => rows.map((row) => `${row.map(csvField).join(",")}\r\n`).join("");

const download = (name, rows) => save(name, "text/csv", csv(rows));

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function headlineCsv() {
  const part = slice();
  const ranks = part.metrics[state.metric]?.estimates ?? [];
  const metrics = Object.keys(part.metrics);
  const head = ["method", "budget", "modality", "dataset", "rank_metric", "rank", "wins", ...metrics.flatMap((name) =>
    [name, `${name}_low`, `${name}_high`, `${name}_interval`, `${name}_categories`]), ...Object.keys(model.costs), "hardware"];
  const rows = part.compared.map((entry) => [
    model.entries[entry].label, part.budget, part.modality, part.dataset, state.metric, ranks[entry]?.rank, ranks[entry]?.wins,
    ...metrics.flatMap((name) => {
      const { interval, n_categories: size, estimates } = part.metrics[name];
      const estimate = estimates[entry];
      return estimate ? [estimate.mean, estimate.low, estimate.high, interval, size] : [null, null, null, null, null];
    }),
    ...Object.keys(model.costs).map((name) => part.costs[entry][name]),
    part.costs[entry].hardware.join("; "),
  ]);
  download("adbench-leaderboard.csv", [head, ...rows]);
}

async function runsCsv() {
  if (await loadRuns()) return;
  const names = Object.keys(packed.runs.columns).filter((name) => name !== "entry" && name !== "place");
  const rows = rowsWhere(() => true).map((row) => names.map((name) => packed.runs.columns[name][row]));
  download("adbench-runs.csv", [names, ...rows]);
}
