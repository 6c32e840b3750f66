// ROC curves of one category.

const rocState = { place: "" };

function drawRoc() {
  const figures = packed.rocs?.figures[state.budget] ?? {};
  const places = Object.keys(figures).filter((place) => {
    const { modality, dataset } = model.categories[place];
    return (!state.modality || modality === state.modality) && (!state.dataset || dataset === state.dataset);
  });
  const options = places.map((place) => [place, model.categories[place].label]);
  const place = fill(byId("roc-category"), options.length ? options : [["", "none"]], rocState.place);
  plot("roc", withoutHidden("lines", figures[place]), "No run stored scores of test images here.");
  const leftOut = packed.rocs?.left_out ?? 0;
  byId("roc-left-out").textContent = leftOut ? `The page has no room for the curves of ${plural(leftOut, "category", "categories")} more.` : "";
}

function startRoc() {
  byId("roc-category").addEventListener("change", (event) => { rocState.place = event.target.value; drawRoc(); });
}
