// The view that is chosen, in the page's address: whoever opens the address sees the same.

const usual = (metric) => metric.shown;
const shownByDefault = () => new Set(model.metrics.filter(usual).map((metric) => metric.name));
const SORTED_BY_DEFAULT = "rank";
const sortKeys = () => ["method", "rank", "wins", "fit_seconds", "predict_ms_per_image", ...model.metrics.map((metric) => metric.name)];
const runKey = (name) => (name === "status" ? name : `run-${name}`);
const sameNames = (a, b) => a.size === b.size && [...a].every((name) => b.has(name));

// What is chosen in a list, unless it is the first. Lists of parts that this page has not are of nothing.
const chosenIn = (id) => (byId(id)?.selectedIndex > 0 ? byId(id).value : "");

// What differs from the page as it opens, so that a plain address stays plain.
function address() {
  const found = new URLSearchParams();
  const add = (name, value, standard = "") => value !== standard && found.set(name, value);
  add("budget", state.budget, model.budgets[0]);
  add("modality", state.modality);
  add("dataset", state.dataset);
  add("metric", state.metric, model.rank_by);
  add("cost", state.cost, "fit_seconds");
  add("sort", `${sorting.ascending ? "" : "-"}${sorting.key}`, SORTED_BY_DEFAULT);
  if (!sameNames(visible, shownByDefault())) found.set("columns", [...visible].join(","));
  if (byId("published").checked) found.set("published", "1");
  for (const entry of hiddenMethods) found.append("hide", model.entries[entry].label);
  add("sweep", chosenIn("sweep"));
  add("objective", chosenIn("sweep-objective"));
  add("parameter", chosenIn("curve-parameter"));
  add("search", byId("run-search").value.trim());
  for (const name of RUN_FILTERS) add(runKey(name), byId(`run-${name}`).value);
  if (runSorting.key) found.set("run-sort", `${runSorting.ascending ? "" : "-"}${runSorting.key}`);
  if (byId("run-every").checked) found.set("every", "1");
  add("curve", rocState.curve, ROC);
  add("category", chosenIn("roc-category"));
  add("run", cardState.run);
  return found.toString();
}

// Unknown and outdated values become the standard ones; what no list holds here, chooseFilters checks.
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const one = (name, allowed, standard) => (allowed.includes(given.get(name)) ? given.get(name) : standard);
  const names = model.metrics.map((metric) => metric.name);
  state.budget = one("budget", model.budgets, model.budgets[0]);
  state.modality = given.get("modality") ?? "";
  state.dataset = given.get("dataset") ?? "";
  state.metric = one("metric", names, model.rank_by);
  state.cost = one("cost", Object.keys(model.costs), "fit_seconds");
  const [, minus, key] = /^(-?)(.*)$/s.exec(given.get("sort") ?? "");
  const known = sortKeys().includes(key);
  sorting.key = known ? key : SORTED_BY_DEFAULT;
  sorting.ascending = !(known && minus);
  const chosen = given.has("columns") ? given.get("columns").split(",").filter((name) => names.includes(name)) : [];
  const columns = chosen.length || given.get("columns") === "" ? chosen : shownByDefault();
  visible.clear();
  for (const name of columns) visible.add(name);
  for (const box of byId("columns").querySelectorAll("input")) box.checked = visible.has(box.value);
  byId("published").checked = model.published.length > 0 && given.get("published") === "1";
  const away = new Set(given.getAll("hide"));
  hiddenMethods.clear();
  model.entries.forEach(({ label }, entry) => away.has(label) && hiddenMethods.add(entry));
  sweepState.sweep = given.get("sweep") ?? "";
  sweepState.objective = given.get("objective") ?? "";
  curveState.parameter = given.get("parameter") ?? "";
  byId("run-search").value = given.get("search") ?? "";
  fillRunFilters((name) => given.get(runKey(name)) ?? "");
  const [, fall, column] = /^(-?)(.*)$/s.exec(given.get("run-sort") ?? "");
  runSorting.key = sortableRuns.includes(column) ? column : "";
  runSorting.ascending = !fall;
  byId("run-every").checked = given.get("every") === "1";
  rocState.curve = given.get("curve") ?? ROC;  // drawRoc corrects what the page does not have
  rocState.category = given.get("category") ?? "";
  cardState.run = given.get("run") ?? "";
}

let written = 0;
function writeAddress() {
  clearTimeout(written);
  written = setTimeout(() => {  // browsers refuse an address that changes with every key
    if (!root.dataset.ready) return writeAddress();  // until then the lists do not have what the address chose
    const fragment = address();
    history.replaceState(null, "", fragment ? `#${fragment}` : `${location.pathname}${location.search}`);
  }, 150);
}

// A link to a section scrolls there, and leaves the view in the address.
function startAddress() {
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", (event) => {
      const target = document.querySelector(link.hash);
      event.preventDefault();
      target.tabIndex = -1;
      target.scrollIntoView();
      target.focus({ preventScroll: true });
    });
  }
  const section = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (section) section.scrollIntoView();
  addEventListener("hashchange", () => {
    clearTimeout(written);
    readAddress();
    draw();
  });
}
