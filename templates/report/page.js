"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const state = { threshold: null, label: -1, cell: null, shown: 24 };
const byId = (id) => document.getElementById(id);
const share = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));

const range = (bounds, digits = 3) => (bounds ? `\n${bounds[0].toFixed(digits)}–${bounds[1].toFixed(digits)}` : "");

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function row(cells) {
  const made = element("tr");
  made.append(...cells.map((cell, i) => (i ? element("td", cell) : element("th", cell, { scope: "row" }))));
  return made;
}

// Labels: a table that every heading sorts.
const columns = [["label", "label"], ["objects", "objects"], ["AP50", "ap50"], ["AP", "ap"], ["threshold", "threshold"],
  ["precision", "precision"], ["recall", "recall"], ["F1", "f1"], ["correct", "correct"], ["wrong", "wrong"],
  ["missed", "missed"], ["false", "false"]];
const shares = new Set(["ap50", "ap", "threshold", "precision", "recall", "f1"]);
let order = { key: null, falling: true };

function sortLabels(key) {
  order = { key, falling: order.key === key ? !order.falling : key !== "label" };
  const value = (one) => (key === "label" ? one.label.toLowerCase() : one[key] ?? -1);
  const sign = order.falling ? -1 : 1;
  data.labels.sort((a, b) => (value(a) < value(b) ? -sign : value(a) > value(b) ? sign : 0));
  showLabels();
}

function showLabels() {
  const head = byId("label-table").tHead.rows[0];
  head.querySelectorAll("th").forEach((cell, i) => {
    const mine = columns[i][1] === order.key;
    cell.setAttribute("aria-sort", mine ? (order.falling ? "descending" : "ascending") : "none");
  });
  const cells = (one) => columns.map(([, key]) => (shares.has(key) ? share(one[key]) + range(one.interval[key], 2) : String(one[key]) + range(one.interval[key], 0)));
  byId("label-table").tBodies[0].replaceChildren(...data.labels.map((one) => row(cells(one))));
}

// Thresholds: counts from the curves, one threshold for all labels or each its own.
function at(curve, threshold) {
  let low = 0, high = curve.scores.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (curve.scores[middle] >= threshold) low = middle + 1; else high = middle;
  }
  return low ? [curve.correct[low - 1], curve.false[low - 1]] : [0, 0];
}

function chosen() {
  return state.label < 0 ? data.curves : [data.curves[state.label]];
}

function showCounts() {
  let correct = 0, wrong = 0, objects = 0;
  for (const curve of chosen()) {
    const [right, other] = at(curve, state.threshold ?? curve.threshold);
    correct += right; wrong += other; objects += curve.objects;
  }
  const kept = correct + wrong;
  const texts = [`threshold ${state.threshold === null ? "of each label" : state.threshold.toFixed(2)}`,
    `${correct} correct`, `${wrong} false`, `${objects - correct} not detected`,
    `precision ${kept ? (correct / kept).toFixed(3) : "–"}`, `recall ${objects ? (correct / objects).toFixed(3) : "–"}`,
    `F1 ${kept + objects ? ((2 * correct) / (kept + objects)).toFixed(3) : "–"}`];
  byId("counts").textContent = texts.join(" · ");
}

// Plots: Plotly takes some HTML in texts, so names are escaped for it.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw(id, traces, x, y, extra = {}) {
  const axis = (title) => ({ title: { text: title }, gridcolor: color("--line"), zerolinecolor: color("--line"), ...(extra[title] || {}) });
  const layout = { margin: { l: 56, r: 12, t: 12, b: 48 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("--ink"), family: "system-ui, sans-serif" }, xaxis: axis(x), yaxis: axis(y), hovermode: "closest",
    showlegend: traces.length > 1 && traces.length <= 12, legend: { orientation: "h", y: -0.2 } };
  window.Plotly?.react(id, traces, layout, { displayModeBar: false, responsive: true });
}

function drawCurves() {
  const unit = { range: [-0.02, 1.02] };
  const some = chosen().filter((curve) => curve.scores.length && curve.objects).slice(0, 40);
  const lines = some.map((curve) => {
    const kept = curve.correct.map((right, i) => right + curve.false[i]);
    return { name: plain(curve.label), mode: "lines", score: curve.scores,
      recall: curve.correct.map((right) => right / curve.objects),
      precision: curve.correct.map((right, i) => right / kept[i]),
      f1: curve.correct.map((right, i) => (2 * right) / (kept[i] + curve.objects)) };
  });
  const line = (x, y) => lines.map((one) => ({ name: one.name, mode: "lines", x: one[x], y: one[y], text: one.score.map((s) => `score ${s}`) }));
  draw("pr", line("recall", "precision"), "recall", "precision", { recall: unit, precision: unit });
  draw("f1", line("score", "f1"), "score threshold", "F1", { "score threshold": unit, F1: unit });
}

function drawOthers() {
  const bins = data.calibration.bins.filter((bin) => bin.detections);
  const unit = { range: [0, 1] };
  draw("calibration", [
    { name: "detections", type: "bar", x: bins.map((bin) => bin.score), y: bins.map((bin) => bin.correct), width: 0.08,
      text: bins.map((bin) => `${bin.detections} detections`), textposition: "none", marker: { color: color("--accent") } },
    { name: "score = share", mode: "lines", x: [0, 1], y: [0, 1], line: { dash: "dot", color: color("--soft") } },
  ], "score", "share that is correct", { score: unit, "share that is correct": unit });
  if (!byId("curves")) return;
  const names = Object.keys(data.training).filter((name) => name !== "epoch");
  draw("curves", names.map((name) => ({ name: plain(name), mode: "lines+markers", x: data.training.epoch, y: data.training[name] })), "epoch", "metric");
}

// Confusion: every number above 0 is a button that filters the images.
function showMatrix() {
  const names = [...data.confusion.labels];
  const head = byId("matrix").tHead.rows[0];
  head.replaceChildren(element("td", ""), ...names.map((name) => element("th", name, { scope: "col", title: name })));
  const most = Math.max(1, ...data.confusion.matrix.flat());
  const rows = data.confusion.matrix.map((counts, i) => {
    const made = element("tr");
    made.append(element("th", names[i], { scope: "row", title: names[i] }));
    counts.forEach((count, j) => {
      const cell = element("td");
      if (count) {
        const said = `${count}: object ${names[i]}, detection ${names[j]}`;
        const button = element("button", String(count), { type: "button", "aria-label": said, "aria-pressed": "false" });
        button.addEventListener("click", () => { state.cell = state.cell === `${i},${j}` ? null : `${i},${j}`; showGallery(); });
        button.dataset.cell = `${i},${j}`;
        cell.append(button);
        const strength = Math.round(8 + 37 * Math.sqrt(count / most));
        cell.style.background = `color-mix(in srgb, var(${i === j ? "--object" : "--false"}) ${strength}%, transparent)`;
      } else cell.textContent = "·";
      made.append(cell);
    });
    return made;
  });
  byId("matrix").tBodies[0].replaceChildren(...rows);
}

// Images: boxes are drawn over them, by the toggles and the threshold.
const svg = (name, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

function box([x0, y0, x1, y1], kind, text) {
  const made = svg("rect", { x: x0, y: y0, width: Math.max(x1 - x0, 0), height: Math.max(y1 - y0, 0), class: kind });
  const title = svg("title", {});
  title.textContent = text;
  made.append(title);
  return made;
}

const limit = (label) => state.threshold ?? data.curves[label].threshold;
const passes = (one) => one.score >= limit(one.label);
const detected = (one) => one.score !== null && passes(one);
const errors = (image) => image.objects.filter((one) => !detected(one)).length
  + image.detections.filter((one) => passes(one) && !one.correct).length;

function figure(image) {
  const errorsOnly = byId("only-errors").checked;
  const objects = byId("show-objects").checked ? image.objects.filter((one) => !errorsOnly || !detected(one)) : [];
  const found = byId("show-detections").checked ? image.detections.filter((one) => passes(one) && !(errorsOnly && one.correct)) : [];
  const overlay = svg("svg", { viewBox: `0 0 ${image.width} ${image.height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const name = (label) => data.confusion.labels[label];
  overlay.append(...objects.map((one) => box(one.box, detected(one) ? "object" : "missed", name(one.label))),
    ...found.map((one) => box(one.box, one.correct ? "right" : "false", `${name(one.label)} ${one.score.toFixed(2)}`)));
  const picture = element("div", undefined, { class: "picture" });
  picture.append(element("img", undefined, { src: image.uri, alt: image.name, decoding: "async", width: image.width, height: image.height }), overlay);
  const caption = element("figcaption", `${image.name}: ${errors(image)} ${errors(image) === 1 ? "error" : "errors"}`);
  const list = element("ul");
  list.append(...found.filter((one) => !one.correct).slice(0, 6).map((one) => element("li", `${name(one.label)} ${one.score.toFixed(2)}: ${one.kind}`)),
    ...objects.filter((one) => !detected(one)).slice(0, 6).map((one) => element("li", `${name(one.label)}: not detected`)));
  caption.append(list);
  const made = element("figure");
  made.append(picture, caption);
  return made;
}

function showGallery() {
  const some = data.images.filter((image) => (state.cell === null ? errors(image) : image.cells.includes(state.cell)));
  some.sort((a, b) => errors(b) - errors(a));
  byId("gallery").replaceChildren(...some.slice(0, state.shown).map(figure));
  byId("more").hidden = some.length <= state.shown;
  const [i, j] = (state.cell ?? ",").split(",");
  const named = state.cell === null ? "" : `: object ${data.confusion.labels[i]}, detection ${data.confusion.labels[j]}`;
  byId("shown").textContent = `${some.length} of ${data.images.length} images${named}`;
  byId("all").hidden = state.cell === null;
  document.querySelectorAll("#matrix button").forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.cell === state.cell)));
}

function setThreshold(value) {
  state.threshold = value;
  byId("own").setAttribute("aria-pressed", String(value === null));
  if (value !== null) for (const id of ["threshold", "gallery-threshold"]) byId(id).value = value;
  showCounts();
  showGallery();
}

const heading = byId("label-table").tHead.rows[0];
for (const [name, key] of columns) {
  const cell = element("th", undefined, { scope: "col", "aria-sort": "none" });
  const button = element("button", name, { type: "button" });
  button.addEventListener("click", () => sortLabels(key));
  cell.append(button);
  heading.append(cell);
}
byId("error-table").tBodies[0].append(...data.errors.map((one) => row([one.name, String(one.count) + range(one.interval.count, 0), `+${one.ap50.toFixed(3)}` + range(one.interval.ap50)])));
byId("group-table").tBodies[0].append(...data.groups.map((one) => row([one.by, one.group, String(one.objects), share(one.recall) + range(one.interval)])));
byId("calibration-note").textContent = data.calibration.error === null ? "no detections"
  : `Scores differ from the share of correct detections by ${data.calibration.error.toFixed(3)}${data.calibration.interval ? ` (${range(data.calibration.interval).trim()})` : ""} on average (Guo et al. 2017).`;
byId("label").append(element("option", "all labels", { value: "-1" }), ...data.curves.map((one, i) => element("option", one.label, { value: String(i) })));
byId("label").addEventListener("change", (event) => { state.label = Number(event.target.value); showCounts(); drawCurves(); });
for (const id of ["threshold", "gallery-threshold"]) byId(id).addEventListener("input", (event) => setThreshold(Number(event.target.value)));
byId("own").addEventListener("click", () => setThreshold(null));
byId("more").addEventListener("click", () => { state.shown += 24; showGallery(); });
byId("all").addEventListener("click", () => { state.cell = null; showGallery(); });
for (const id of ["show-objects", "show-detections", "only-errors"]) byId(id).addEventListener("change", showGallery);
showLabels();
showCounts();
showMatrix();
showGallery();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawCurves(); drawOthers(); });
requestAnimationFrame(() => setTimeout(() => { // the library of the plots takes longer than all the rest: the page is shown first
  const library = element("script", byId("plotly").textContent);
  document.head.append(library);
  library.remove();
  drawCurves();
  drawOthers();
  document.documentElement.dataset.ready = "true";
}));
