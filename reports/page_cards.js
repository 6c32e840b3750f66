// Cards: everything about one run, one method or one dataset, in a dialog. A run's card has an address: #run=ID.

const cardState = { run: "" };
const cardOf = (kind, name) => packed.cards?.[`${kind} ${name}`];

function cardButton(kind, name) {
  if (!cardOf(kind, name)) return document.createTextNode(name);
  const open = () => {
    setAddress(null);
    openCard(name, cardBody(cardOf(kind, name)));
  };
  return el("button", { type: "button", className: "link", textContent: name, title: `About this ${kind}`, "aria-haspopup": "dialog", onclick: open });
}

const facts = (pairs) => el("dl", {}, ...pairs.flatMap(([name, text, kind = ""]) =>
  [el("dt", { textContent: name }), el("dd", { textContent: text, className: kind })]));

function cardBody(card) {
  const table = el("table", { className: "details-table" },
    el("thead", {}, el("tr", {}, ...card.head.map((textContent) => el("th", { scope: "col", textContent })))),
    el("tbody", {}, ...card.rows.map(([name, ...rest]) =>
      el("tr", {}, el("th", { scope: "row", textContent: name }), ...rest.map((textContent) => el("td", { textContent }))))));
  return [
    facts(card.facts.map(([name, text]) => [name, text, text.includes("\n") ? "code" : ""])),
    card.text ? el("pre", { textContent: card.text.trim() }) : null,
    card.rows.length ? el("h3", { textContent: "Parameters" }) : null,
    card.rows.length ? el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Parameters" }, table) : null,
  ].filter(Boolean);
}

function openCard(title, body) {
  byId("card-title").textContent = title;
  byId("card-body").replaceChildren(...body);
  if (!byId("card").open) byId("card").showModal();
  byId("card").scrollTop = 0;
  byId("card-title").focus();
}

function setAddress(run) {
  cardState.run = run ?? "";
  writeAddress();
}

// Runs

const CODE = new Set(["params", "dataset_params", "dataset_fingerprint", "split_hash", "base_split_hash", "git_commit", "run_id", "preset_params"]);
const GROUPS = {
  Setting: ["method", "method_version", "params", "preset_params", "selection", "sweep_id", "budget", "seed", "n_normal", "noise", "noise_source", "multi_class"],
  Data: ["dataset", "dataset_params", "category", "modality", "image_size", "n_train", "n_labelled", "n_val", "n_test", "n_hidden", "dataset_fingerprint", "split_hash", "base_split_hash"],
  Cost: ["fit_seconds", "predict_ms_per_image", "peak_rss_mb", "peak_vram_mb", "device", "world_size", "hardware", "host"],
};
const APART = new Set(["entry", "place", "command", "error", "notes", "status"]);

function metricRows(runs, row) {
  const titled = (name) => `${name.startsWith("val_") ? "Validation: " : ""}${metricOf(name.replace(/^val_/, ""))?.title ?? name}`;
  return Object.keys(runs).filter((name) => metricOf(name.replace(/^val_/, "")) && runs[name][row] !== null).map((name) => {
    const [low, high] = [runs[`${name}_low`]?.[row], runs[`${name}_high`]?.[row]];
    const ends = low === null || low === undefined ? "" : ` [${percent(low)} – ${percent(high)}]`;
    return [titled(name), `${percent(runs[name][row])}${ends}`];
  });
}

function runBody(row) {
  const runs = packed.runs.columns;
  const known = (names) => names.filter((name) => name in runs && runs[name][row] !== null)
    .map((name) => [name, String(runs[name][row]), CODE.has(name) ? "code" : ""]);
  const isMetric = (name) => metricOf(name.replace(/^val_/, "").replace(/_(low|high)$/, ""));
  const told = new Set(Object.values(GROUPS).flat());
  const rest = Object.keys(runs).filter((name) => !told.has(name) && !APART.has(name) && !isMetric(name));
  const empty = Object.keys(runs).filter((name) => runs[name][row] === null && !APART.has(name) && !/_(low|high)$/.test(name));
  const { status, standing, command, error, notes } = Object.fromEntries(["status", "standing", "command", "error", "notes"].map((name) => [name, runs[name]?.[row]]));
  const part = (title, pairs) => (pairs.length ? [el("h3", { textContent: title }), facts(pairs)] : []);
  return [
    el("p", {}, el("span", { className: `chip ${status === "ok" ? "ok" : "failed"}`, textContent: status }),
      standing === "current" ? "" : el("span", { className: "chip", textContent: STANDINGS[standing] }),
      " ", el("a", { href: `#${address()}`, textContent: "Link to this run" })),
    el("p", {}, "About the method: ", cardButton("method", runs.method[row]), ". About the dataset: ", cardButton("dataset", runs.dataset[row]), "."),
    el("h3", { textContent: "The command that repeats it" }), el("pre", { className: "command", textContent: command }),
    ...(error ? [el("h3", { textContent: "Error" }), el("pre", { textContent: error })] : []),
    ...(notes ? [el("h3", { textContent: "Warnings" }), el("pre", { textContent: notes })] : []),
    ...part("Metrics (per cent, with 95 % intervals over test images)", metricRows(runs, row)),
    ...Object.entries(GROUPS).flatMap(([title, names]) => part(title, known(names))),
    ...part("Provenance", known(rest)),
    ...(empty.length ? [el("p", { className: "fine", textContent: `Undefined: ${empty.join(", ")}.` })] : []),
  ];
}

async function openRun(wanted) {
  const runs = packed.runs.columns;
  const say = (textContent) => openCard(`Run ${wanted}`, [el("p", { textContent })]);
  setAddress(wanted);
  let problem = "";
  if (!runs.run_id.some((id) => id.startsWith(wanted)) && packed.runs.files.some((file) => !file.here)) {
    say("Loading…");
    problem = await loadRuns();
    if (cardState.run !== wanted) return;  // closed, or another is wanted by now
  }
  const found = rowsWhere((row) => runs.run_id[row] === wanted);
  const alike = found.length ? found : rowsWhere((row) => runs.run_id[row].startsWith(wanted));
  if (alike.length !== 1) {
    say(alike.length ? `${alike.length} runs on this page begin with that.` : problem || "This page does not hold that run: it is of other results.");
    return;
  }
  const [row] = alike;
  setAddress(runs.run_id[row]);
  const where = model.categories[runs.place[row]]?.label ?? `${runs.dataset[row]}/${runs.category[row]}`;
  openCard(`${runs.method[row]} on ${where}, seed ${runs.seed[row]}`, runBody(row));
}

function listCards() {
  const all = Object.values(packed.cards ?? {});
  byId("card-list").hidden = !all.length;
  const of = (kind) => all.filter((card) => card.kind === kind).flatMap((card, place) => [place ? ", " : "", cardButton(kind, card.name)]);
  byId("card-list").replaceChildren("About the methods: ", ...of("method"), ". About the datasets: ", ...of("dataset"), ".");
}

function startCards() {
  const asked = () => (cardState.run ? openRun(cardState.run) : byId("card").close());
  byId("card-close").addEventListener("click", () => byId("card").close());
  byId("card").addEventListener("close", () => setAddress(null));
  byId("card").addEventListener("click", (event) => event.target === byId("card") && byId("card").close());
  addEventListener("hashchange", asked);
  listCards();
  asked();
}
