// The table of all runs: DataTables sorts, filters and pages it, and runs only once the table comes near.
// DataTables takes texts for HTML. So every cell is a node here, lists are the page's own selects, and what is searched
// are the values themselves.

const STANDINGS = { trial: "search trial", older: "older data or metric", repeated: "superseded" };
const RUN_FILTERS = ["status", "method", "category", "budget", "seed"];
const runSorting = { key: "", ascending: true };
let runTable = null;
let runMetric = null;  // that the table shows

const valueOf = (name) => (row) => packed.runs.columns[name][row];
const chip = (text, kind = "") => el("span", { className: `chip ${kind}`, textContent: text });

function runCategory(row) {
  const { place, dataset, category } = packed.runs.columns;
  return model.categories[place[row]]?.label ?? `${dataset[row]}/${category[row]}`;
}

function runMethod(row) {
  const { method, selection, standing } = packed.runs.columns;
  const cell = el("span", {}, method[row]);
  if (selection[row] === "test") cell.append(" ", chip("tuned on test", "test"));
  if (standing[row] !== "current") cell.append(" ", chip(STANDINGS[standing[row]]));
  return cell;
}

function runButton(row) {
  const id = packed.runs.columns.run_id[row];
  return el("button", { type: "button", className: "link", "aria-haspopup": "dialog", onclick: () => openRun(id) },
    "details", el("span", { className: "hidden", textContent: ` of run ${id}` }));
}

// By name: what is sorted and filtered, and what is shown of it if that is something else.
const runColumns = {
  status: { title: "Status", value: valueOf("status"), show: (row, value) => chip(value, value === "ok" ? "ok" : "failed") },
  method: { title: "Method", value: valueOf("method"), show: runMethod },
  category: { title: "Category", value: runCategory },
  seed: { title: "Seed", value: valueOf("seed"), className: "number" },
  budget: { title: "Budget", value: valueOf("budget") },
  metric: {
    title: "Metric", ariaTitle: "Metric chosen above", value: (row) => packed.runs.columns[state.metric]?.[row] ?? null, className: "number",
    show: (row, value) => (value === null ? "–" : percent(value)),
  },
  fit_seconds: { title: "Fit (s)", value: valueOf("fit_seconds"), show: (row, value) => amount(value), className: "number" },
  finished_at: {
    title: "Finished (UTC)", value: (row) => Date.parse(packed.runs.columns.finished_at[row]), className: "number",
    show: (row) => packed.runs.columns.finished_at[row].slice(0, 16).replace("T", " "),
  },
  record: { title: "Record", value: () => "", show: runButton, orderable: false },
};
const sortableRuns = Object.keys(runColumns).filter((name) => runColumns[name].orderable !== false);

function libraryColumn([name, { value, show = (row, shown) => String(shown), ...rest }]) {
  const node = (row) => {
    const shown = show(row, value(row));
    return typeof shown === "string" ? document.createTextNode(shown) : shown;
  };
  const data = (row, kind) => (kind === "display" ? node(row) : value(row));
  return { name, data, type: "known first", searchable: false, ...rest };
}

function compareKnown(sign) {
  const { compare } = new Intl.Collator("en", { numeric: true });
  return (a, b) => (a === null) - (b === null) || sign * (typeof a === "string" ? compare(a, b) : a - b);
}

function openRunTable() {
  if (runTable || !packed.runs.total) return;
  runScript(packed.table_library);
  DataTable.ext.errMode = "throw";  // otherwise it alerts
  DataTable.type("known first", "order", { asc: compareKnown(1), desc: compareKnown(-1) });
  runTable = new DataTable(byId("run-table"), {
    columns: Object.entries(runColumns).map(libraryColumn),
    autoWidth: false,  // it would measure texts as HTML
    orderClasses: false, orderMulti: false, order: [], pageLength: 50,
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: "paging" },
    language: { emptyTable: "No run is here.", zeroRecords: "No run is found." },
    drawCallback: () => runTable && sayRuns(),
  });
  for (const name of RUN_FILTERS) {
    const wanted = () => byId(`run-${name}`).value;
    runTable.column(`${name}:name`).search.fixed("chosen", (text, row) => !wanted() || String(runColumns[name].value(row)) === wanted());
  }
  runTable.search.fixed("view", (text, row) => ofChosen(row));
  byId("run-pages").append(runTable.table().container().querySelector(".dt-paging"));
  runTable.on("order", () => {
    const [[place, direction] = []] = runTable.order();
    Object.assign(runSorting, { key: direction ? Object.keys(runColumns)[place] : "", ascending: direction !== "desc" });
    writeAddress();
  });
  drawRuns();
}

// The filters above, unless all runs are wanted.
function ofChosen(row) {
  if (byId("run-every").checked) return true;
  const { budget, modality, dataset } = packed.runs.columns;
  return budget[row] === state.budget && (!state.modality || modality[row] === state.modality) && (!state.dataset || dataset[row] === state.dataset);
}

const haystacks = [];
function searchOfWords() {
  const words = byId("run-search").value.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return "";
  const texts = Object.values(packed.runs.columns).filter((values) => typeof values.find((value) => value !== null) === "string");
  return (text, row) => {
    haystacks[row] ??= texts.map((values) => values[row] ?? "").join("\n").toLowerCase();
    return words.every((word) => haystacks[row].includes(word));
  };
}

function drawRuns() {
  if (!runTable) return sayRuns();
  if (runMetric !== state.metric) {
    runMetric = state.metric;
    runTable.clear();  // much faster than to have each row read again
    runTable.column("metric:name").header().querySelector(".dt-column-title").textContent = metricOf(state.metric)?.title ?? "Metric";
  }
  const { recordsTotal: here } = runTable.page.info();
  const added = Array.from({ length: packed.runs.count - here }, (_, index) => here + index);
  if (added.length) runTable.rows.add(added);
  runTable.search.fixed("words", searchOfWords());
  const { key, ascending } = runSorting;
  runTable.order(key ? [[Object.keys(runColumns).indexOf(key), ascending ? "asc" : "desc"]] : []).draw();
}

function sayRuns() {
  const count = packed.runs.count;
  const words = (value) => value.toLocaleString("en");
  const chosen = rowsWhere(ofChosen).length;
  const scope = byId("run-every").checked
    ? `All ${words(count)} runs are looked at, whatever is chosen above.`
    : `${words(chosen)} of ${words(count)} ${count === 1 ? "run" : "runs"} ${chosen === 1 ? "is" : "are"} of what is chosen above (${viewInWords()}).`;
  const { start, end, recordsDisplay: found } = runTable?.page.info() ?? {};
  const shown = runTable ? `${words(found)} ${found === 1 ? "run" : "runs"} found${found ? `, ${words(start + 1)} to ${words(end)} shown` : ""}. ` : "";
  byId("run-count").textContent = `${shown}${scope}${runsNotice()}`;
}

function fillRunFilters(given) {
  for (const name of RUN_FILTERS) {
    const choices = model.run_choices[name].map(String);
    fill(byId(`run-${name}`), [["", "all"], ...choices.map((one) => [one, one])], given(name));
  }
}

function startRuns() {
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    openRunTable();
  }, { rootMargin: "800px" });
  near.observe(byId("run-table"));
  const used = () => {
    openRunTable();
    drawRuns();
    writeAddress();
  };
  let typed = 0;
  byId("run-search").addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(used, 200);
  });
  for (const name of [...RUN_FILTERS, "every"]) byId(`run-${name}`).addEventListener("change", used);
  byId("run-all").addEventListener("click", () => loadRuns());
  byId("runs-csv").addEventListener("click", runsCsv);
  addEventListener("beforeprint", openRunTable);
}
