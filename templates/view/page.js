"use strict";
const byId = (id) => document.getElementById(id);
const grid = byId("grid"), scroller = byId("scroll"), zoom = byId("zoom");
const PAGE = 120, CAPTION = 40, GAP = 8, MOST_PAGES = 60;
const MARKS = { w: "wrong", u: "unsure", o: "ok", x: "" };
const wide = matchMedia("(min-width: 800px)");
let state, query = "", count = 0, current = 0, opened = null, scale = 1, turn = 0;
const pages = new Map(), cells = new Map();

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

async function answer(address, options) {
  const got = await fetch(address, options);
  if (!got.ok) throw new Error(await got.text());
  return got.json();
}

const failed = (error) => { byId("count").textContent = `failed: ${error.message}`; };
const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

// Filters: a list of choices each; the values are indices, so that any text can be a label.
function filters() {
  const numbered = (names) => names.map((name, i) => [i, name]);
  const counted = (rows) => rows.map(([name, number], i) => [i, `${name} (${number})`]);
  const notes = [[0, "none"], ...state.notes.map((name, i) => [i + 1, name])];
  const lists = [
    ["label", [[-1, "without objects"], ...numbered(state.labels)]],
    ["split", state.splits.length ? [[-1, "in no split"], ...counted(state.splits)] : []],
    ["size", numbered(state.sizes)], ["flag", numbered(state.flags)],
    ["finding", state.findings.length ? [[-1, "without findings"], ...counted(state.findings)] : []],
    ["error", state.errors.map(([id, name, number]) => [id, `${name} (${number})`])],
    ["note", notes],
  ];
  for (const [name, choices] of lists) {
    if (!choices.length) continue;
    const list = element("select", undefined, { name });
    list.append(element("option", "any", { value: "" }), ...choices.map(([value, text]) => element("option", text, { value })));
    add(name, list);
  }
  if (state.thresholds) {
    for (const [name, text, value] of [["lowest", "score from", 0], ["highest", "to", 1]])
      add(text, element("input", undefined, { name, type: "number", min: 0, max: 1, step: "any", value, class: "score" }));
  }
  add("name", element("input", undefined, { name: "name", type: "text", autocomplete: "off", spellcheck: "false" }));
  const orders = element("select", undefined, { name: "order" });
  orders.append(...state.orders.map((name, i) => element("option", i ? `most ${name}` : `as in the ${name}`, { value: i })));
  if (!state.thresholds) orders.options[1].remove();
  add("order", orders);
  add("\u00a0", element("button", "Reset", { type: "reset" }));
}

function add(text, control) {
  const label = element("label", text);
  label.append(control);
  byId("filters").append(label);
}

let begun = answer("/images?"); // of the first page, while the filters are on their way
async function select() {
  const values = new URLSearchParams();
  for (const [name, value] of new FormData(byId("filters")))
    if (value !== "" && !(name === "lowest" && value === "0") && !(name === "highest" && value === "1") && !(name === "order" && value === "0")) values.set(name, value);
  query = values.toString();
  byId("list").href = `/list.txt?${query}`;
  pages.clear();
  const mine = ++turn;
  const first = await (query === "" && begun ? begun : answer(`/images?${query}`));
  begun = null;
  if (mine !== turn) return;
  pages.set(0, first.images);
  count = first.count;
  current = 0;
  byId("count").textContent = count === state.images ? plural(count, "image") : `${plural(count, "image")} of ${state.images.toLocaleString("en")}`;
  scroller.scrollTop = 0;
  for (const cell of cells.values()) cell.remove();
  cells.clear();
  layout();
}

// The grid: only the cells on the screen exist; their data come in pages.
const shape = { columns: 1, side: 200, height: 200 };

function layout() {
  const width = grid.clientWidth, wanted = wide.matches ? 200 : 160;
  shape.columns = Math.max(1, Math.floor((width + GAP) / (wanted + GAP)));
  shape.side = Math.floor((width + GAP) / shape.columns) - GAP;
  shape.height = Math.round(shape.side * 0.8) + CAPTION;
  grid.style.height = `${Math.ceil(count / shape.columns) * (shape.height + GAP)}px`;
  for (const [index, cell] of cells) place(cell, index);
  show();
}

function place(cell, index) {
  const step = shape.height + GAP;
  Object.assign(cell.style, { width: `${shape.side}px`, height: `${shape.height}px`,
    left: `${(index % shape.columns) * (shape.side + GAP)}px`, top: `${Math.floor(index / shape.columns) * step}px` });
}

let waiting = 0;
function show() {
  const step = shape.height + GAP, top = scroller.scrollTop - grid.offsetTop + scroller.offsetTop;
  const first = Math.max(0, Math.floor(top / step) - 1) * shape.columns;
  const last = Math.min(count, (Math.ceil((top + scroller.clientHeight) / step) + 1) * shape.columns);
  for (const [index, cell] of cells) if (index < first || index >= last) { cell.remove(); cells.delete(index); }
  for (let index = first; index < last; index++) {
    let cell = cells.get(index);
    if (!cell) {
      cell = element("div", undefined, { role: "option", id: `image-${index}`, "aria-setsize": count, "aria-posinset": index + 1 });
      cell.dataset.index = index;
      place(cell, index);
      cells.set(index, cell);
      grid.append(cell);
    }
    const item = known(index);
    if (item && !cell.dataset.filled) fill(cell, item);
    cell.setAttribute("aria-selected", String(index === current));
  }
  if (count) grid.setAttribute("aria-activedescendant", `image-${current}`);
  else grid.removeAttribute("aria-activedescendant");
  clearTimeout(waiting);
  waiting = setTimeout(() => { for (let page = Math.floor(first / PAGE); page * PAGE < last; page++) load(page); }, 60);
}

const known = (index) => pages.get(Math.floor(index / PAGE))?.[index % PAGE];

async function load(page) {
  if (pages.has(page)) return;
  const mine = turn;
  pages.set(page, []);
  try {
    const got = await answer(`/images?${query}&start=${page * PAGE}`);
    if (mine !== turn) return;
    pages.set(page, got.images);
    for (const old of [...pages.keys()].slice(0, Math.max(0, pages.size - MOST_PAGES))) if (old !== page) pages.delete(old);
    show();
  } catch (error) { pages.delete(page); failed(error); }
}

function fill(cell, item) {
  const room = [shape.side, shape.height - CAPTION], fit = Math.min(room[0] / item.width, room[1] / item.height);
  const picture = element("div");
  Object.assign(picture.style, { width: `${item.width * fit}px`, height: `${item.height * fit}px` });
  picture.append(element("img", undefined, { src: `/thumbnails/${item.row}?${state.version}`, alt: "", decoding: "async" }), drawing(item, {}));
  const thumb = element("div", undefined, { class: "thumb" });
  thumb.append(picture);
  const caption = element("div", undefined, { class: "caption" });
  caption.append(element("b", item.name), plural(item.count, "object") + (item.looked ? `, ${plural(item.errors, "error")}` : ""));
  if (item.note) caption.append(" ", element("span", state.notes[item.note - 1], { class: `mark ${state.notes[item.note - 1]}` }));
  cell.replaceChildren(thumb, caption);
  cell.title = item.name;
  cell.dataset.filled = "1";
}

// Boxes and masks, over a thumbnail or the whole image.
function things(item) {
  const label = (one) => state.labels[one.label];
  const kinds = new Map(state.errors.map(([id, name]) => [id, name]));
  return [
    ...item.objects.map((one) => ({ ...one, of: "objects", kind: one.missed ? "missed" : "object",
      text: [label(one), ...(one.flags ?? []), ...(one.missed ? ["missed"] : [])].join(", ") })),
    ...item.detections.map((one) => ({ ...one, of: "detections", kind: one.correct ? "right" : "false",
      text: `${label(one)} ${one.score.toFixed(2)}: ${kinds.get(one.kind) ?? "below the threshold"}` })),
  ];
}

function drawing(item, { every, masks }) {
  const made = svg("svg", { viewBox: `0 0 ${item.width} ${item.height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  (every ?? things(item)).forEach((one, i) => {
    const [x0, y0, x1, y1] = one.box;
    if (masks && one.mask?.length) {
      const ring = (points) => `M${points.join(" ")}Z`;
      made.append(svg("path", { class: `mask ${one.kind}`, d: one.mask.map(ring).join("") }));
    }
    made.append(svg("rect", { x: x0, y: y0, width: Math.max(x1 - x0, 0), height: Math.max(y1 - y0, 0), class: one.kind, "data-thing": i }));
  });
  return made;
}

// Zoom.
async function open(index) {
  if (index < 0 || index >= count) return;
  current = index;
  reveal();
  const page = Math.floor(index / PAGE);
  if (!known(index)) await load(page);
  const item = known(index);
  if (!item) return;
  opened = await answer(`/images/${item.row}`);
  if (!zoom.open) { scale = 1; zoom.showModal(); byId("frame").focus(); }
  byId("name").textContent = `${opened.name} (${index + 1} of ${count})`;
  byId("previous").disabled = index === 0;
  byId("next").disabled = index === count - 1;
  byId("scores").hidden = !opened.looked;
  const lines = [["splits", opened.splits.join(", ")], ["size", `${opened.width}×${opened.height}`], ["image", opened.path], ["annotation", opened.source],
    ...opened.findings.map((text) => ["finding", text])];
  byId("facts").replaceChildren(...lines.filter(([, text]) => text).map(([name, text]) => element("p", `${name}: ${text}`)));
  if (opened.command) {
    const copy = element("button", "Copy the command", { type: "button" });
    copy.addEventListener("click", async () => { await navigator.clipboard.writeText(opened.command); copy.textContent = "Copied"; });
    byId("facts").append(element("p", "Correct it in labelImg:"), element("pre", opened.command, { tabindex: 0 }), copy);
  }
  draw();
  showMarks();
}

function draw() {
  const frame = byId("frame"), least = Number(byId("least").value);
  const fit = Math.min(frame.clientWidth / opened.width, frame.clientHeight / opened.height) * scale;
  const width = opened.width * fit, height = opened.height * fit;
  byId("least-text").textContent = least ? least.toFixed(2) : "thresholds";
  const passes = (one) => one.of === "objects" || (least ? one.score >= least : one.score >= state.thresholds[one.label]);
  const every = things(opened).filter((one) => byId(`show-${one.of}`).checked && passes(one));
  const picture = byId("picture");
  Object.assign(picture.style, { width: `${width}px`, height: `${height}px` });
  const image = picture.querySelector(`img[src="/pictures/${opened.row}?${state.version}"]`) ?? element("img", undefined, { src: `/pictures/${opened.row}?${state.version}`, alt: opened.name });
  const tags = every.map((one) => {
    const tag = element("span", one.text, { class: one.box[1] * fit < 16 ? "tag low" : "tag" });
    Object.assign(tag.style, { left: `${Math.max(0, one.box[0] * fit)}px`, top: `${Math.max(0, one.box[1] * fit)}px` });
    return tag;
  });
  picture.replaceChildren(image, drawing(opened, { every, masks: byId("show-masks").checked }), ...(every.length <= 60 && width >= 500 ? tags : []));
  byId("things").replaceChildren(...every.map((one, i) => {
    const line = element("li", one.text, { class: one.kind });
    const choose = (on) => picture.querySelector(`[data-thing="${i}"]`)?.classList.toggle("chosen", on);
    line.addEventListener("pointerenter", () => choose(true));
    line.addEventListener("pointerleave", () => choose(false));
    return line;
  }));
}

function magnify(factor) {
  const frame = byId("frame"), before = scale;
  scale = Math.min(16, Math.max(1, scale * factor));
  const center = [frame.scrollLeft + frame.clientWidth / 2, frame.scrollTop + frame.clientHeight / 2];
  draw();
  frame.scrollTo(center[0] * scale / before - frame.clientWidth / 2, center[1] * scale / before - frame.clientHeight / 2);
}

function showMarks() {
  byId("marks").querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.note === (opened.note ? state.notes[opened.note - 1] : ""))));
}

async function mark(note) {
  const index = current, item = known(index);
  if (!item) return;
  try {
    const got = await answer(`/notes/${item.row}`, { method: "POST", body: note });
    state.note_counts = got.note_counts;
    item.note = state.notes.indexOf(note) + 1;
    if (opened && opened.row === item.row) { opened.note = item.note; showMarks(); }
    const cell = cells.get(index);
    if (cell) fill(cell, item);
    byId("count").textContent = `${item.name}: ${note || "no note"}`;
  } catch (error) { failed(error); }
}

function reveal() {
  const step = shape.height + GAP, top = Math.floor(current / shape.columns) * step, bottom = top + step;
  const offset = grid.offsetTop - scroller.offsetTop;
  if (top + offset < scroller.scrollTop) scroller.scrollTop = top + offset;
  else if (bottom + offset > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = bottom + offset - scroller.clientHeight;
  show();
}

function move(to) {
  current = Math.min(Math.max(to, 0), Math.max(count - 1, 0));
  reveal();
}

grid.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const rows = Math.max(1, Math.floor(scroller.clientHeight / (shape.height + GAP))) * shape.columns;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: shape.columns, ArrowUp: -shape.columns, PageDown: rows, PageUp: -rows };
  if (event.key in steps) move(current + steps[event.key]);
  else if (event.key === "Home") move(0);
  else if (event.key === "End") move(count - 1);
  else if (event.key === "Enter" || event.key === " ") open(current).catch(failed);
  else if (event.key in MARKS) mark(MARKS[event.key]);
  else return;
  event.preventDefault();
});
grid.addEventListener("click", (event) => {
  const cell = event.target.closest("[role=option]");
  if (cell) open(Number(cell.dataset.index)).catch(failed);
});
zoom.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "range") return;
  if (event.key === "ArrowRight" && scale === 1) open(current + 1).catch(failed);
  else if (event.key === "ArrowLeft" && scale === 1) open(current - 1).catch(failed);
  else if (event.key === "+" || event.key === "=") magnify(1.5);
  else if (event.key === "-") magnify(1 / 1.5);
  else if (event.key in MARKS) mark(MARKS[event.key]);
  else return;
  event.preventDefault();
});
zoom.addEventListener("close", () => { opened = null; grid.focus(); show(); });
byId("frame").addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  magnify(event.deltaY < 0 ? 1.2 : 1 / 1.2);
}, { passive: false });
byId("previous").addEventListener("click", () => open(current - 1).catch(failed));
byId("next").addEventListener("click", () => open(current + 1).catch(failed));
byId("close").addEventListener("click", () => zoom.close());
byId("larger").addEventListener("click", () => magnify(1.5));
byId("smaller").addEventListener("click", () => magnify(1 / 1.5));
for (const id of ["show-objects", "show-detections", "show-masks"]) byId(id).addEventListener("change", draw);
byId("least").addEventListener("input", draw);
for (const [key, note] of Object.entries(MARKS)) {
  const button = element("button", note ? `${note} (${key})` : `no note (${key})`, { type: "button", "data-note": note });
  button.addEventListener("click", () => mark(note));
  byId("marks").append(button);
}
let typing = 0;
byId("filters").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => select().catch(failed), 120); });
byId("filters").addEventListener("reset", () => setTimeout(() => select().catch(failed)));
byId("filters").addEventListener("submit", (event) => event.preventDefault());
scroller.addEventListener("scroll", () => requestAnimationFrame(show));
new ResizeObserver(() => { cells.forEach((cell) => delete cell.dataset.filled); layout(); if (opened) draw(); }).observe(scroller);
const unfold = () => { byId("panel").open = wide.matches; };
wide.addEventListener("change", unfold);
unfold();
(async () => {
  state = await answer("/state");
  byId("title").textContent = document.title = state.title;
  filters();
  await select();
  document.documentElement.dataset.ready = "true";
})().catch(failed);
