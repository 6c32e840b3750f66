// Names beside the points of a figure, each where it covers no other name and no point. One without room is left out.

const NAME_GAP = 4;  // pixels between a point and its name
const POINT = 8;  // half the width of a point

const besides = (width, x, y) => [
  ["top right", x + NAME_GAP, y - POINT - 12], ["bottom right", x + NAME_GAP, y + POINT],
  ["middle right", x + POINT + NAME_GAP, y - 7], ["middle left", x - POINT - NAME_GAP - width, y - 7],
  ["top left", x - NAME_GAP - width, y - POINT - 12], ["bottom left", x - NAME_GAP - width, y + POINT],
  ["top center", x - width / 2, y - POINT - 14], ["bottom center", x - width / 2, y + POINT],
].map(([position, left, top]) => ({ position, left, top, right: left + width, bottom: top + 14 }));

const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

const ruler = document.createElement("canvas").getContext("2d");
function widthOf(text) {
  ruler.font = "12px system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif";
  return ruler.measureText(text).width;
}

// The traces that name points: which position each name has, and which names have none.
function placed(graph) {
  const { xaxis, yaxis, _size: room } = graph._fullLayout;
  const named = graph.data.map((trace, index) => ({ trace, index })).filter(({ trace }) => trace.meta?.names);
  const all = named.flatMap(({ trace, index }) => trace.x.map((value, place) =>
    ({ index, name: trace.meta.names[place], x: xaxis.d2p(value), y: yaxis.d2p(trace.y[place]) })));
  const taken = all.map(({ x, y }) => ({ left: x - POINT, right: x + POINT, top: y - POINT, bottom: y + POINT }));
  for (const one of all) {
    const found = besides(widthOf(one.name), one.x, one.y).find((box) =>
      box.left >= 0 && box.right <= room.w + room.r && box.top >= -room.t && box.bottom <= room.h && !taken.some((other) => overlap(box, other)));
    one.position = found?.position;
    if (found) taken.push(found);
  }
  return named.map(({ index }) => ({ index, points: all.filter((one) => one.index === index) }));
}

function nameOnce(graph) {
  const found = placed(graph);
  const key = JSON.stringify(found.map(({ points: own }) => own.map(({ name, position }) => position && name + position)));
  if (graph.namesPlaced === key) return;
  graph.namesPlaced = key;
  byId("cost-unnamed").textContent = found.some(({ points: own }) => own.some((one) => !one.position))
    ? "Names without room are left out: point at a mark, or tap it, to read its name." : "";
  Plotly.restyle(graph, {
    text: found.map(({ points: own }) => own.map((one) => (one.position ? one.name : ""))),
    textposition: found.map(({ points: own }) => own.map((one) => one.position ?? "top right")),
  }, found.map(({ index }) => index));
}

// After each drawing, for it may have another width.
function nameAll(graph) {
  if (!graph.data.some((trace) => trace.meta?.names)) return;
  graph.namesPlaced = "";
  if (!graph.namesFollow) graph.on("plotly_afterplot", () => nameOnce(graph));
  graph.namesFollow = true;
  nameOnce(graph);
}
