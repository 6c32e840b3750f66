// ROC curves of images and of pixels, and PRO curves: of one category, and of pixels the mean over categories too.

const ROC = "image_roc";
const MEAN = "mean";
const rocState = { curve: ROC, category: "" };

const ROC_CAPTION = "From the stored scores of the test images, one seed of each method. Only corners that can be seen are drawn: none is off by more than a thousandth.";
const OVERLAP = "Overlap is averaged over the regions of defects, as AUPRO is (sPRO: up to each defect's saturation). The dotted line is the rate of 0.05, up to which AUPRO 0.05 goes.";
const FOUND = "Found is the share of all defective pixels, so large defects weigh most.";

const placesHere = (places) => places.filter((place) => {
  const { modality, dataset } = model.categories[place];
  return (!state.modality || modality === state.modality) && (!state.dataset || dataset === state.dataset);
});

// The place of the category chosen, MEAN, or undefined without any.
function chooseRoc(places, first) {
  const byLabel = new Map([...first, ...places.map((place) => [model.categories[place].label, place])]);
  const options = [...byLabel.keys()].map((label) => [label, label]);
  return byLabel.get(fill(byId("roc-category"), options.length ? options : [["", "none"]], rocState.category));
}

function drawImageRoc() {
  const { figures = {}, left_out: leftOut = 0 } = packed.rocs ?? {};
  const own = figures[state.budget] ?? {};
  const figure = own[chooseRoc(placesHere(Object.keys(own)), [])];
  byId("roc-conclusion").textContent = figure?.conclusion ?? "";
  byId("roc-caption").textContent = `${ROC_CAPTION}${leftOut ? ` The page has no room for the curves of ${plural(leftOut, "category", "categories")} more.` : ""}`;
  plot("roc", withoutHidden("lines", figure), leftOut ? "The page has no curves here: for want of room, or of stored scores." : "No run stored scores of test images here.");
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

// A view of a dataset, by its place or as the mean of a slice, or why it is not here yet.
function curvesOf(datasets, dataset, name) {
  const found = datasets[dataset];
  if (!("file" in found)) return { view: found[name] };
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
  const data = lines.map(({ entry, y }) => ({ ...packed.pixel_curves.styles[entry], x, y }));
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
  const first = mean.n_lines ? [[`mean of ${plural(mean.n_categories, "category", "categories")}`, MEAN]] : [];
  const place = chooseRoc(placesOf(datasets), first);
  const { view, notice } = place === undefined ? {}
    : place !== MEAN ? curvesOf(datasets, model.categories[place].dataset, place)
      : mean.lines ? { view: mean } : curvesOf(datasets, slice().dataset, `mean ${current()}`);
  const lacking = withoutCurves(mean);
  const over = place === MEAN
    ? "Means over categories, of the mean over seeds, in the cells that all compared methods share."
    : "Means over each method's own seeds.";
  byId("roc-conclusion").textContent = view?.conclusion ?? "";
  const { n_points: points, area_bound: bound } = packed.pixel_curves;
  const exact = `Runs keep ${points} points; the area under them is within ${bound} of the exact one in the tables.`;
  byId("roc-caption").textContent = view ? [over, kind.chance ? FOUND : OVERLAP, exact, lacking].filter(Boolean).join(" ") : "";
  const empty = notice ?? (lacking || "No run here has masks to compare its maps with.");
  plot("roc", view ? withoutHidden("lines", curveFigure(kind, view)) : null, empty);
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
  for (const [id, name] of [["roc-curve", "curve"], ["roc-category", "category"]]) {
    byId(id).addEventListener("change", (event) => {
      rocState[name] = event.target.value;
      drawRoc();
      writeAddress();
    });
  }
}
