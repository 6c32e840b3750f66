// Is the difference real: sentences on what tests show, the ranks, and every two methods side by side.

const CHANCE = {
  images: "the choice of test images, not seeds",
  "images+seeds": "the choice of test images, and seeds",
  seeds: "seeds, not the choice of test images",
};
const ALPHA = 0.05;
const magnitude = (value) => Math.abs(100 * value).toFixed(1);
const number = (value) => `${value < 0 && magnitude(value) !== "0.0" ? "−" : ""}${magnitude(value)}`;
const signed = (value) => (value > 0 && magnitude(value) !== "0.0" ? `+${magnitude(value)}` : number(value));
const interval = (low, high) => `[${number(low)},\u00a0${number(high)}]`;
const digits = (p) => p.toFixed(p < 0.0995 ? 3 : 2).replace(/^0/, "");
const pValue = (p) => (p === null ? "no p-value: nothing varies" : p < 0.001 ? "p\u00a0<\u00a0.001" : `p\u00a0=\u00a0${digits(p)}`);
const listed = (items, most = 4) => {
  const shown = items.length > most ? [...items.slice(0, most - 1), `${items.length - most + 1} more`] : items;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
};

// How many methods have n (n - 1) / 2 pairs.
const paired = (found) => Math.round((1 + Math.sqrt(1 + 8 * found.wins.length)) / 2);

// The method at place a of the ranking against the one at place b; the tables hold each pair once.
function duel(found, a, b) {
  const [i, j] = a < b ? [a, b] : [b, a];
  const k = i * paired(found) - (i * (i + 1)) / 2 + j - i - 1;
  const sign = a < b ? 1 : -1;
  const of = (name) => found[name]?.[k] ?? null;
  const known = found.difference !== null && found.difference !== undefined;
  const gain = known ? sign * of("difference") * (metricOf(state.metric).higher ? 1 : -1) : null;
  return {
    known, gain, p: of("p"), wilcoxon: of("wilcoxon"), nemenyi: of("nemenyi"), ties: of("ties"),
    difference: known ? sign * of("difference") : null,
    low: known ? (sign > 0 ? of("low") : -of("high")) : null,
    high: known ? (sign > 0 ? of("high") : -of("low")) : null,
    wins: of(sign > 0 ? "wins" : "losses"), losses: of(sign > 0 ? "losses" : "wins"),
    apart: known && of("p") !== null && of("p") < ALPHA,
  };
}

function measured({ difference, low, high, p }) {
  const ends = difference < 0 ? interval(-high, -low) : interval(low, high);
  return `${magnitude(difference)} points ${ends}, ${pValue(p)}`;
}

function onTheseImages(found, aggregate, names) {
  const title = metricOf(state.metric).title;
  const where = aggregate.n_categories === 1 ? "On this one category" : `On these ${aggregate.n_categories} categories`;
  if (!duel(found, 0, 1).known) {
    const seeds = aggregate.interval === "none" ? "one seed" : "fewer than three seeds in some category";
    return `${where} nothing tells how much of the differences in ${title} is chance: it has ${seeds}, and no stored image scores determine it.`;
  }
  const ending = ` (Chance: ${CHANCE[aggregate.interval]}.)`;
  const others = Array.from({ length: paired(found) - 1 }, (_, place) => ({ ...duel(found, 0, place + 1), name: names[place + 1] }));
  const [first] = others;
  if (names.length === 2) {
    if (!first.apart) return `${where} ${names[0]} and ${first.name} cannot be told apart: difference ${measured(first)}.${ending}`;
    const [ahead, behind] = first.gain > 0 ? [names[0], first.name] : [first.name, names[0]];
    return `${where} ${ahead} is ahead of ${behind}: difference ${measured(first)}.${ending}`;
  }
  const beaten = others.filter((one) => one.apart && one.gain > 0).map((one) => one.name);
  const ahead = others.filter((one) => one.apart && one.gain < 0).map((one) => `${one.name} (${measured(one)})`);
  const alike = others.filter((one) => !one.apart).map((one) => `${one.name} (${measured(one)})`);
  const parts = [];
  if (beaten.length) parts.push(`is ahead of ${listed(beaten)}`);
  if (alike.length) parts.push(`cannot be told apart from ${listed(alike)}`);
  if (ahead.length) parts.push(`is behind ${listed(ahead)} on the mean`);
  const rank = (place) => aggregate.estimates[found.entries[place]].rank;
  const best = names.filter((_, place) => rank(place) === rank(0));
  const ranking = best.length > 1 ? `${listed(best)} share the best average rank` : `${names[0]} has the best average rank`;
  const cut = names.length > paired(found) ? ` Told of are the first ${paired(found)} by rank.` : "";
  return `${where} ${ranking}. ${best.length > 1 ? names[0] : "It"} ${parts.join("; it ")}.${ending}${cut}`;
}

function onOtherCategories(found, aggregate, names) {
  const count = aggregate.n_categories;
  if (count === 1) return "Nothing can be said of other categories: there is one, and tests over categories need several.";
  const pairs = (names.length * (names.length - 1)) / 2;
  const floor = Math.min(1, found.smallest * pairs);
  const limit = floor >= ALPHA
    ? ` With ${count} categories${pairs > 1 ? ` and ${pairs} pairs no adjusted` : " no"} p-value of Wilcoxon's test can be below ${digits(floor)}: too few to show a difference between two methods.`
    : "";
  if (found.friedman === null) {
    const { wilcoxon } = duel(found, 0, 1);
    return `Over categories, as a sample of others: Wilcoxon's signed-rank test ${wilcoxon < ALPHA ? "finds a difference" : "shows no difference"} (${pValue(wilcoxon)}).${limit} Friedman's test needs at least three methods.`;
  }
  const [chi, p] = found.friedman;
  const test = `χ² = ${chi.toFixed(1)}, ${pValue(p)}${count <= 10 ? ", rough with so few categories" : ""}`;
  const verdict = p >= ALPHA
    ? `shows no difference among the ${names.length} methods (${test}); that is no proof that there is none`
    : `finds that the ${names.length} methods do not all perform alike (${test})`;
  return `Over categories, as a sample of others: Friedman's test ${verdict}.${limit}`;
}

function rankCaption(found, aggregate, count) {
  if (found.groups === null) return "Average ranks in one category. No test, so no bars.";
  const test = found.friedman === null ? "Wilcoxon's test" : "Nemenyi's test (average ranks closer than the critical difference)";
  const bars = found.friedman !== null && found.friedman[1] >= ALPHA
    ? "The bar joins all methods, for Friedman's test shows no difference."
    : found.groups ? `Thick bars join methods between which ${test} shows no difference.` : `No bar: ${test} tells all apart.`;
  const cut = found.entries.length > count ? ` The first ${count} of ${found.entries.length} methods.` : "";
  return `Average rank over ${plural(aggregate.n_categories, "category", "categories")}. ${bars}${cut}`;
}

function duelCell(found, a, b) {
  if (a === b) return el("td", { className: "self", textContent: "–" });
  const one = duel(found, a, b);
  const record = `${one.wins}–${one.ties}–${one.losses}`;
  const tests = [["Wilcoxon, adjusted", one.wilcoxon], ["Nemenyi", one.nemenyi]].filter(([, p]) => p !== null);
  const title = tests.length ? `Over categories: ${tests.map(([name, p]) => `${name}: ${pValue(p)}`).join("; ")}` : "";
  if (!one.known) return el("td", { title }, el("span", { className: "sub", textContent: record }));
  const mark = one.apart ? (one.gain > 0 ? "▲ " : "▼ ") : "";
  return el("td", { className: one.apart ? (one.gain > 0 ? "ahead" : "behind") : "", title },
    el("span", { className: "mean", textContent: `${mark}${signed(one.difference)}` }),
    el("span", { className: "interval", textContent: interval(one.low, one.high) }),
    el("span", { className: "sub", textContent: pValue(one.p) }),
    el("span", { className: "sub", textContent: record }));
}

function drawDifference() {
  const found = packed.comparisons[current()]?.[state.metric];
  const aggregate = slice().metrics[state.metric];
  byId("duels").replaceChildren();
  for (const id of ["duels-title", "duels-legend", "difference-csv"]) byId(id).hidden = !found;
  if (!found) {
    const title = metricOf(state.metric)?.title ?? "a metric";
    byId("conclusion").replaceChildren(el("p", { textContent: viewNotice() || `Fewer than two methods have ${title} in shared cells here: there is nothing to compare.` }));
    byId("ranks-caption").textContent = "";
    return;
  }
  const names = found.entries.map((entry) => model.entries[entry].label);
  const sentences = [onTheseImages(found, aggregate, names), onOtherCategories(found, aggregate, names)];
  byId("conclusion").replaceChildren(...sentences.map((textContent) => el("p", { textContent })));
  byId("ranks-caption").textContent = rankCaption(found, aggregate, model.most_ranked);
  const places = Array.from({ length: paired(found) }, (_, place) => place).filter((place) => isShown(found.entries[place]));
  byId("duels").replaceChildren(
    el("thead", {}, el("tr", {}, ...["row minus column", ...places.map((place) => names[place])].map((textContent) => el("th", { scope: "col", textContent })))),
    el("tbody", {}, ...places.map((a) => el("tr", {}, methodName(found.entries[a]), ...places.map((b) => duelCell(found, a, b))))));
  const cut = names.length > paired(found) ? ` Only the ${paired(found)} methods of best average rank, of ${names.length}.` : "";
  const values = duel(found, 0, 1).known
    ? `Difference of the means in percentage points, its 95 % interval, and the p-value${names.length > 2 ? ", adjusted after Holm for all pairs (the interval is of the pair alone)" : ""}. ▲ ahead and ▼ behind where p < .05. Last line: categories`
    : "Categories";
  byId("duels-legend").textContent = `${values} won–tied–lost.${cut}`;
}

function differenceCsv() {
  const found = packed.comparisons[current()][state.metric];
  const places = Array.from({ length: paired(found) }, (_, place) => place);
  const head = ["metric", "budget", "modality", "dataset", "first", "second", "difference", "low", "high", "p_holm", "won", "tied", "lost", "wilcoxon_p_holm", "nemenyi_p"];
  const { budget, modality, dataset } = slice();
  const rows = places.flatMap((a) => places.slice(a + 1).map((b) => {
    const one = duel(found, a, b);
    const [first, second] = [a, b].map((place) => model.entries[found.entries[place]].label);
    return [state.metric, budget, modality, dataset, first, second, one.difference, one.low, one.high, one.p, one.wins, one.ties, one.losses, one.wilcoxon, one.nemenyi];
  }));
  download("adbench-differences.csv", [head, ...rows]);
}
