// Curves: quality over one parameter, for runs that differ in nothing else.

const curveState = { parameter: "" };

function curveCaption({ lines, left_out: leftOut }) {
  const kinds = [...new Set(lines.map((line) => line.interval))].map((kind) => INTERVALS[kind][0]);
  const sizes = lines.map((line) => `${line.label}: ${plural(line.n_cells, "cell")} in ${plural(line.n_categories, "category", "categories")}`);
  return `Points of a line are means over the same cells: over categories, of the mean over seeds. Bars: ${kinds.join("; or ")}. ` +
    `${sizes.join("; ")}.${leftOut ? ` ${plural(leftOut, "line")} more not drawn.` : ""}`;
}

function curveSentence({ lines }, name) {
  const best = listed(lines.map((line) => `${line.label} at ${name} = ${line.best} (${percent(line.mean)})`));
  return `${metricOf(state.metric).title} is best here for ${best}. These are test images: a value chosen by this figure is tuned on test, and neighbouring points whose bars overlap may differ by chance alone.`;
}

function drawCurves() {
  byId("curves").hidden = !packed.curves?.some((part) => Object.keys(part).length);
  byId("curves-link").hidden = byId("curves").hidden;
  if (byId("curves").hidden) return;
  const here = packed.curves[current()];
  const names = Object.keys(here);
  if (!names.length) {
    byId("curve-conclusion").textContent = "Under these filters no method has runs that differ in one parameter alone.";
    byId("curve-caption").textContent = "";
    fill(byId("curve-parameter"), [["", "none"]], "");
    plot("curve", null, "");
    return;
  }
  const name = fill(byId("curve-parameter"), names.map((one) => [one, one]), curveState.parameter);
  const figure = here[name][state.metric];
  plot("curve", figure, `No runs that differ in ${name} alone have ${metricOf(state.metric)?.title ?? "a metric"} in shared cells.`);
  byId("curve-caption").textContent = figure ? curveCaption(figure.layout.meta) : "";
  byId("curve-conclusion").textContent = figure ? curveSentence(figure.layout.meta, name) : "";
}

function startCurves() {
  byId("curve-parameter").addEventListener("change", (event) => { curveState.parameter = event.target.value; drawCurves(); writeAddress(); });
}
