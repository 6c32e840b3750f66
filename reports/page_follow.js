// Parts that are written into the document follow the filters: what is not of the view is hidden, and counted.

function ofView(dataset) {
  if (state.dataset) return dataset === state.dataset;
  return !state.modality || model.categories.some((one) => one.dataset === dataset && one.modality === state.modality);
}

const viewInWords = () => [`budget ${state.budget}`, state.modality, state.dataset].filter(Boolean).join(", ");

function follow(id, items, what) {
  const hidden = items.filter((node) => node.hidden).length;
  const shown = items.length - hidden;
  if (!byId(id)) return;  // a page without images
  byId(id).textContent = `${shown || "None"} of ${items.length} ${what} ${shown === 1 ? "is" : "are"} of what is chosen above (${viewInWords()})${hidden ? `; the other ${hidden} ${hidden === 1 ? "is" : "are"} not shown` : ""}.`;
  byId(id).hidden = !items.length;
}

function drawGallery() {
  const rows = [...document.querySelectorAll("#images .cases")];
  const hidden = hiddenHere();
  for (const row of rows) row.hidden = hidden.includes(row.dataset.method) || row.dataset.budget !== state.budget || !ofView(row.dataset.dataset);
  for (const node of document.querySelectorAll("#images .gallery, #images .gallery-category")) node.hidden = !node.querySelector(".cases:not([hidden])");
  follow("images-scope", rows, "rows of images");
}

// What is planned for a budget that has no run could not be chosen: it is shown under all.
function drawCoverage() {
  const items = [...document.querySelectorAll("#coverage [data-budget]")];
  const hasRuns = (item) => model.budgets.includes(item.dataset.budget);
  for (const item of items) {
    const cells = [...item.querySelectorAll("[data-dataset]")];
    for (const cell of cells) cell.hidden = !ofView(cell.dataset.dataset);
    const shown = cells.filter((cell) => !cell.hidden);
    item.hidden = (hasRuns(item) && item.dataset.budget !== state.budget) || !shown.length;
    const summary = item.querySelector(".cells summary");
    if (summary && shown.length) summary.textContent = shown.length > 1 ? `${shown[0].textContent} and ${shown.length - 1} more` : shown[0].textContent;
  }
  for (const group of document.querySelectorAll("#coverage .follows")) group.hidden = !group.querySelector("[data-budget]:not([hidden])");
  follow("coverage-scope", items.filter(hasRuns), "entries below");
  if (!items.every(hasRuns)) byId("coverage-scope").append(" Those of budgets without runs are shown under every budget.");
}
