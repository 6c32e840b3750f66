// ROC curves of images and of pixels, and PRO curves: of one category, and of pixels the mean over categories too.

const ROC = "image_roc";
const MEAN = "mean";
const rocState = { curve: ROC, place: "", hidden: new Set() };

const ROC_CAPTION = "From the stored scores of the test images, one seed of each method. Only corners that can be seen are drawn: none is off by more than a thousandth.";
const OVERLAP = "Overlap is averaged over the regions of defects, as AUPRO is (sPRO: up to each defect's saturation). The dotted line is the rate of 0.05, up to which AUPRO 0.05 goes.";
const FOUND = "Found is the share of all defective pixels, so large defects weigh most.";

const placesHere = (places) => places.filter((place) => {
  const { modality, dataset } = model.categories[place];
  return (!state.modality || modality === state.modality) && (!state.dataset || dataset === state.dataset);
});

function chooseRoc(places, first) {
  const options = [...first, ...places.map((place) => [place, model.categories[place].label])];
  return fill(byId("roc-category"), options.length ? options : [["", "none"]], rocState.place);
}

// Check boxes beside Plotly's legend, which only a mouse reaches; a click there changes the box.

function drawMethods(traces, redraw) {
  const toggle = (entry, shown) => {
    shown ? rocState.hidden.delete(entry) : rocState.hidden.add(entry);
    redraw();
  };
  const box = (trace) => el("label", {}, el("input", {
    type: "checkbox", value: String(trace.meta), checked: !rocState.hidden.has(trace.meta),
    onchange: (event) => toggle(trace.meta, event.target.checked),
  }), model.entries[trace.meta].label);
  const legend = byId("roc-methods").querySelector("legend");
  const focused = document.activeElement?.closest("#roc-methods") ? document.activeElement.value : null;
  byId("roc-methods").replaceChildren(legend, ...traces.map(box));
  byId("roc-methods").hidden = !traces.length;
  if (focused !== null) byId("roc-methods").querySelector(`input[value="${CSS.escape(focused)}"]`)?.focus();
  const target = byId("roc");
  target.removeAllListeners?.("plotly_legendclick");
  target.on?.("plotly_legendclick", ({ curveNumber, fullData }) => {
    const { meta } = fullData[curveNumber];
    if (meta !== undefined) toggle(meta, rocState.hidden.has(meta));
    return false;
  });
}

function drawLines(figure, empty, redraw) {
  const visible = ({ meta }) => (rocState.hidden.has(meta) ? "legendonly" : true);
  const data = figure?.data.map((trace) => ({ ...trace, visible: visible(trace) }));
  plot("roc", figure && { data, layout: { ...figure.layout, legend: { ...figure.layout.legend, itemdoubleclick: false } } }, empty);
  drawMethods(data?.filter((trace) => trace.meta !== undefined) ?? [], redraw);
}

function drawImageRoc() {
  const { figures = {}, left_out: leftOut = 0 } = packed.rocs ?? {};
  const own = figures[state.budget] ?? {};
  const figure = own[chooseRoc(placesHere(Object.keys(own)), [])];
  byId("roc-conclusion").textContent = "";
  byId("roc-caption").textContent = `${ROC_CAPTION}${leftOut ? ` The page has no room for the curves of ${plural(leftOut, "category", "categories")} more.` : ""}`;
  drawLines(figure, "No run stored scores of test images here.", drawImageRoc);
}

// Curves of pixels: those of a dataset's categories may lie beside the page.

async function loadCurves(budget, dataset, datasets) {
  const file = datasets[dataset];
  file.state = "loading";
  try {
    datasets[dataset] = await fetchPart(file);
  } catch (error) {
    file.state = error.message;
  }
  if (budget === state.budget) drawRoc();
}

// The view of a category, or why it is not here yet.
function curvesOf(datasets, place) {
  const { dataset } = model.categories[place];
  const found = datasets[dataset];
  if (!("file" in found)) return { view: found[place] };
  if (!found.state) loadCurves(state.budget, dataset, datasets);
  return { notice: found.state === "loading" ? "Loading…" : `This part cannot be shown: ${found.state}` };
}

function placesOf(datasets) {
  const all = Object.keys(model.categories).filter((place) => {
    const found = datasets[model.categories[place].dataset];
    return found && (found.places ? found.places.includes(Number(place)) : place in found);
  });
  return placesHere(all);
}

function curveFigure({ x, layout, chance }, { lines }) {
  const data = lines.map(({ entry, y }) => ({ ...packed.pixel_curves.styles[entry], meta: entry, x, y }));
  return lines.length ? { data: chance ? [...data, chance] : data, layout } : null;
}

function withoutCurves({ able, kept }) {
  if (kept === able) return "";
  const which = kept ? `${able - kept} of ${plural(able, "run")} here` : able === 1 ? "The run here" : "The runs here";
  return `${which} kept no such curve, as runs of earlier versions: to have it, run the suite again into a new results folder (out=…).`;
}

function drawPixelCurve(kind) {
  const datasets = kind.datasets[state.budget] ?? {};
  const mean = kind.slices[current()];
  const first = mean.lines.length ? [[MEAN, `mean of ${plural(mean.n_categories, "category", "categories")}`]] : [];
  const place = chooseRoc(placesOf(datasets), first);
  const { view, notice } = place === MEAN ? { view: mean } : place ? curvesOf(datasets, place) : {};
  const lacking = withoutCurves(mean);
  const over = place === MEAN
    ? "Means over categories, of the mean over seeds, in the cells that all compared methods share."
    : "Means over each method's own seeds.";
  byId("roc-conclusion").textContent = view?.conclusion ?? "";
  const { n_points: points, area_bound: bound } = packed.pixel_curves;
  const exact = `Runs keep ${points} points; the area under them is within ${bound} of the exact one in the tables.`;
  byId("roc-caption").textContent = view ? [over, kind.chance ? FOUND : OVERLAP, exact, lacking].filter(Boolean).join(" ") : "";
  drawLines(view && curveFigure(kind, view), notice ?? (lacking || "No run here has masks to compare its maps with."), drawRoc);
}

function drawRoc() {
  const kinds = packed.pixel_curves?.kinds;
  const options = [[ROC, "image ROC"], ...Object.entries(kinds ?? {}).map(([name, { title }]) => [name, title])];
  // Before the page's data are here, what the address chose is not known to be wrong.
  const curve = fill(byId("roc-curve"), options, rocState.curve);
  if (kinds) rocState.curve = curve;
  if (curve === ROC) drawImageRoc();
  else drawPixelCurve(kinds[curve]);
}

function startRoc() {
  byId("roc-curve").addEventListener("change", (event) => {
    rocState.curve = event.target.value;
    rocState.place = "";
    drawRoc();
    writeAddress();
  });
  byId("roc-category").addEventListener("change", (event) => { rocState.place = event.target.value; drawRoc(); });
}
