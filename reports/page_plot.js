// Figures, by Plotly: each is drawn when its place comes near the window, and keeps its height until then.
// Running Plotly's script takes longer than all else, so it stands in the page as data and is run for the first figure.

const NEAR = "600px";  // from the window
const HEIGHT = 450;  // Plotly's, where a figure says nothing

const pending = new Map();  // place in the page -> figure to be drawn there, and the name of its downloads
const queue = new Set();  // the pending places that are near
let plotlySource = null;
const near = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) if (isIntersecting && pending.has(target)) queue.add(target);
  drawQueue();
}, { rootMargin: `${NEAR} 0px` });

function plot(id, figure, empty) {
  const place = byId(id);
  if (!figure) {
    unplot(place);
    place.replaceChildren(el("p", { className: "fine", textContent: empty }));
    return;
  }
  if (!isDrawn(place)) place.replaceChildren();
  place.style.height = `${figure.layout.height ?? HEIGHT}px`;  // which Plotly keeps to when the window changes
  place.setAttribute("aria-busy", "true");
  pending.set(place, { figure, id });
  near.unobserve(place);
  if (plotlySource !== null) near.observe(place);  // which tells anew whether it is near
}

const isDrawn = (place) => place.classList.contains("js-plotly-plot");

function unplot(place) {
  pending.delete(place);
  near.unobserve(place);
  if (isDrawn(place)) Plotly.purge(place);
  place.style.height = "";
  place.removeAttribute("aria-busy");
}

// Runs at once, unless it has.
function runPlotly() {
  if (globalThis.Plotly) return;
  runScript(plotlySource);
  plotlySource = "";
}

// One after the other, so that no click has to wait for more than one.
let drawing = false;
async function drawQueue() {
  if (drawing) return;
  drawing = true;
  for (const place of queue) {
    await new Promise((resolve) => setTimeout(resolve));
    queue.delete(place);
    drawPlace(place);
  }
  drawing = false;
}

function drawPending() {
  if (plotlySource !== null) for (const place of [...pending.keys()]) drawPlace(place);
}

async function drawPlace(place) {
  if (!pending.has(place)) return;
  const { figure, id } = pending.get(place);
  pending.delete(place);
  near.unobserve(place);
  runPlotly();
  const download = (format, icon) => ({
    name: format, title: `Download as ${format.toUpperCase()}`, icon,
    click: (graph) => Plotly.downloadImage(graph, { format, scale: format === "png" ? 2 : 1, filename: `adbench-${id}` }),
  });
  const pdf = { name: "pdf", title: "Print, or save as PDF", icon: Plotly.Icons.disk, click: printAlone };
  await Plotly.react(place, structuredClone(figure.data), themed(figure.layout), {
    responsive: true, displaylogo: false, displayModeBar: true,
    modeBarButtons: [[download("svg", Plotly.Icons.camera), download("png", Plotly.Icons["camera-retro"]), pdf]],
  });
  nameAll(place);
  if (!pending.has(place)) place.removeAttribute("aria-busy");
}

function themed(layout) {
  const { text, soft, grid, panel } = theme();
  const axis = { gridcolor: grid, linecolor: grid, tickcolor: soft, zerolinecolor: grid };
  // a figure of several plots has xaxis2 and so on
  const axes = ["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis\d/.test(key))];
  return {
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif", size: 12, color: text },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: text },
    hoverlabel: { bgcolor: panel, bordercolor: soft, font: { color: text } },
    ...Object.fromEntries(axes.map((name) => [name, { ...axis, ...layout[name] }])),
  };
}

// A figure on a page of its size: the browser's dialog prints it, or saves it as PDF with its lines and letters.
function printAlone(place) {
  const size = el("style", { textContent: `@page { size: ${place.offsetWidth + 40}px ${place.offsetHeight + 40}px; margin: 20px; }` });
  document.head.append(size);
  const mark = (on) => {
    root.classList.toggle("one-figure", on);
    byId(place.id).classList.toggle("alone", on);
  };
  // startPrint's listener comes before, and may draw the figure in a new place of the same id
  addEventListener("beforeprint", () => mark(true), { once: true });
  addEventListener("afterprint", () => {
    size.remove();
    mark(false);
  }, { once: true });
  print();
}

async function startFigures() {
  plotlySource = await unzipped(byId("plotly").textContent);
  for (const place of pending.keys()) near.observe(place);
}
