// Search: what each sweep tried, cost and found. The figures are Optuna's.

const sweepState = { sweep: "", objective: "" };

const sweepsHere = () => packed.sweeps.filter((one) => one.budget === state.budget && one.datasets.some(ofView));

function sweepFacts(sweep) {
  const ended = sweep.complete + sweep.stopped + sweep.failed;
  const hours = sweep.lane_seconds / 3600;
  const reached = sweep.objective.map((name, place) => `${name} ${sweep.best[place]?.toPrecision(4)}`).join(", ");
  const setting = Object.entries(sweep.setting).map(([name, value]) =>
    `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ");
  return [
    ["Method", `${sweep.method}, budget ${sweep.budget}`],
    ["Data", listed(sweep.data, 8)],
    ["Searched for", sweep.objective.join(", ")],
    ["Proposed by", `${sweep.sampler}; poor trials stopped by ${sweep.scheduler}`],
    ["Spent", `${ended} of ${plural(sweep.trials, "trial")}: ${sweep.complete} complete, ${sweep.stopped} stopped early, ` +
      `${sweep.failed} failed; ${hours < 0.1 ? `${Math.round(sweep.lane_seconds)} s` : `${hours.toPrecision(2)} h`} of lanes`],
    ["Best reached", sweep.best.length ? `${reached}, with ${setting}` : "no trial is complete"],
  ];
}

function gainRow(gain) {
  const { title } = metricOf(gain.metric);
  const known = gain.low !== null;
  const cells = `${gain.n_cells} in ${plural(gain.n_categories, "category", "categories")}`;
  return el("tr", {}, el("th", { scope: "row", textContent: title }),
    el("td", { textContent: percent(gain.default) }), el("td", { textContent: percent(gain.tuned) }),
    el("td", {}, el("span", { textContent: signed(gain.difference) }),
      known ? el("span", { className: "interval", textContent: `${interval(gain.low, gain.high)}, ${pValue(gain.p)}` }) : null),
    el("td", { textContent: cells }));
}

// One sentence on the metric that the page shows.
function gainSentence(one) {
  const gain = one.gains.find((each) => each.metric === state.metric) ?? one.gains[0];
  const { title, higher } = metricOf(gain.metric);
  const cells = plural(gain.n_cells, "cell");
  const size = `${magnitude(gain.difference)} points`;
  if (gain.low === null) return `${title}: the tuned rows differ from the default by ${size} on the same ${cells}; nothing tells how much of it is chance.`;
  const chance = `${interval(gain.low, gain.high)}, ${pValue(gain.p)}; chance: ${CHANCE[gain.interval]}`;
  if (gain.p === null || gain.p >= ALPHA) return `${title}: tuned and default cannot be told apart on the same ${cells}: tuned minus default ${signed(gain.difference)} points ${chance}.`;
  return `${title}: tuning ${gain.difference > 0 === higher ? "helped" : "harmed"}, on the same ${cells}: ${signed(gain.difference)} points ${chance}.`;
}

function gainTable(one) {
  const head = ["Metric", "Default", "Tuned", "Tuned minus default", "Cells"];
  return [
    el("p", { textContent: gainSentence(one) }),
    el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `Tuned against ${one.default}` },
      el("table", { className: "numbers details-table" },
        el("caption", { className: "fine", textContent: `Tuned against ${one.default}: means in per cent over the cells that both have` }),
        el("thead", {}, el("tr", {}, ...head.map((textContent) => el("th", { scope: "col", textContent })))),
        el("tbody", {}, ...one.gains.map(gainRow)))),
  ];
}

function drawSweepFigures(sweep) {
  const shown = sweep.figures.filter((one) => one.objective === null || one.objective === sweepState.objective);
  byId("sweep-figures").replaceChildren(...shown.map((one, place) => el("figure", { "aria-label": one.title },
    el("h3", { textContent: one.title }), el("div", { id: `sweep-figure-${place}`, className: "plot" }),
    el("figcaption", { className: "fine", textContent: one.conclusion }))));
  shown.forEach((one, place) => plot(`sweep-figure-${place}`, one.figure, ""));
}

function drawSearch() {
  if (!packed.sweeps?.length) return;
  const here = sweepsHere();
  byId("sweep-figures").querySelectorAll(".plot").forEach(unplot);
  for (const id of ["sweep-gains", "sweep-figures", "sweep-note", "sweep-facts"]) byId(id).replaceChildren();
  byId("sweep-problem").hidden = true;
  byId("sweep-gains").previousElementSibling.hidden = !here.length;
  if (!here.length) {
    fill(byId("sweep"), [["", "none"]], "");
    byId("sweep-objective-choice").hidden = true;
    byId("sweep-facts").append(el("p", { textContent: `No sweep was made under these filters; under others there ${packed.sweeps.length === 1 ? "is 1" : `are ${packed.sweeps.length}`}.` }));
    return;
  }
  sweepState.sweep = fill(byId("sweep"), here.map((one) => [one.sweep_id, one.sweep_id]), sweepState.sweep);
  const sweep = here.find((one) => one.sweep_id === sweepState.sweep);
  sweepState.objective = fill(byId("sweep-objective"), sweep.objective.map((name) => [name, name]), sweepState.objective);
  byId("sweep-objective-choice").hidden = sweep.objective.length < 2;
  byId("sweep-facts").append(el("dl", {}, ...sweepFacts(sweep).flatMap(([name, text]) =>
    [el("dt", { textContent: name }), el("dd", { textContent: text })])));
  byId("sweep-gains").append(...(sweep.against.length ? sweep.against.flatMap(gainTable) : [el("p", {
    textContent: "No run of the tuned setting shares a cell with a run of the method as it is: there is nothing to compare.",
  })]));
  byId("sweep-problem").hidden = !sweep.problem;
  byId("sweep-problem").textContent = sweep.problem;
  byId("sweep-note").textContent = sweep.note;
  drawSweepFigures(sweep);
}

function startSearch() {
  if (!byId("search")) return;
  byId("sweep").addEventListener("change", (event) => { sweepState.sweep = event.target.value; drawSearch(); writeAddress(); });
  byId("sweep-objective").addEventListener("change", (event) => { sweepState.objective = event.target.value; drawSearch(); writeAddress(); });
}
