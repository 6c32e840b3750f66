// What lies beside the page, in scripts that hand over what they hold: loaded when it is needed.

const arrived = new Map();
globalThis.adbenchPart = (key, text) => arrived.set(key, text);

async function unzipped(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let index = 0; index < raw.length; index += 1) bytes[index] = raw.charCodeAt(index);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const unpacked = async (text) => JSON.parse(await unzipped(text));

function fetchPart({ key, file }) {
  return new Promise((resolve, reject) => {
    const script = el("script", { src: file });
    const end = (event) => {
      script.remove();
      const text = arrived.get(key);
      arrived.delete(key);
      if (event.type === "load" && text) resolve(unpacked(text));
      else reject(new Error(`${file} is not beside this page, or not of it: copy the whole folder of index.html, or run adbench report again and reload.`));
    };
    script.addEventListener("load", end);
    script.addEventListener("error", end);
    document.head.append(script);
  });
}

// Figures, comparisons and intervals of one budget and metric

const viewFile = () => packed.views[`${state.budget} ${state.metric}`];

function addView({ figures, comparisons, intervals }) {
  figures.forEach((one, index) => {
    for (const [kind, found] of Object.entries(one)) Object.assign(packed.figures[index][kind], found);
  });
  comparisons.forEach((one, index) => Object.assign(packed.comparisons[index], one));
  for (const [budget, found] of Object.entries(intervals)) packed.intervals[budget] = { ...packed.intervals[budget], ...found };
  byCell.clear();
}

async function loadView() {
  const file = viewFile();
  if (!file || file.state === "loading" || file.state === "here") return;
  file.state = "loading";
  try {
    addView(await fetchPart(file));
    file.state = "here";
  } catch (error) {
    file.state = error.message;
  }
  if (file !== viewFile()) return;
  drawFigures();
  drawDifference();
  drawDetails();
}

// Why a figure is not there yet, or cannot be; empty if that is not for want of its file.
function viewNotice() {
  const { state: found = "here" } = viewFile() ?? {};
  return found === "here" ? "" : found === "loading" ? "Loading…" : `This part cannot be shown: ${found}`;
}

// Rows of the run table

const megabytes = (files) => `${(files.reduce((sum, file) => sum + file.bytes, 0) / 1e6).toFixed(1)} MB`;
let runsProblem = "";
let loadingRuns = Promise.resolve("");

// Loads the files chosen, one after the other; resolves to what went wrong, or to an empty text.
function loadRuns(chosen = () => true) {
  loadingRuns = loadingRuns.then(async () => {
    runsProblem = "";
    for (const file of packed.runs.files.filter((one) => chosen(one) && !one.here)) {
      try {
        const { count, columns } = await fetchPart(file);
        for (const [name, values] of Object.entries(columns)) for (const value of values) packed.runs.columns[name].push(value);
        packed.runs.count += count;
        file.here = true;
      } catch (error) {
        runsProblem = `These runs cannot be shown: ${error.message}`;
        break;
      }
      byId("run-count").textContent = `Loading: ${packed.runs.count.toLocaleString("en")} of ${packed.runs.total.toLocaleString("en")} runs are here.`;
    }
    drawRuns();
    return runsProblem;
  });
  return loadingRuns;
}

function runsNotice() {
  const left = packed.runs.files.filter((file) => !file.here);
  byId("run-all").hidden = !left.length;
  if (!left.length) return "";
  const count = packed.runs.total - packed.runs.count;
  byId("run-all").textContent = `Load the other ${count.toLocaleString("en")} runs (${megabytes(left)})`;
  return ` Searched were ${packed.runs.count.toLocaleString("en")} runs, ${count.toLocaleString("en")} are not loaded. ${runsProblem}`;
}
