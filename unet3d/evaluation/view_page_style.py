"""The look of a case's page, light and dark, and its script: unpacking, drawing, moving."""

from unet3d.sweep.page_style import BASE

ERRORS = {"false positive": "#ff4fd8", "false negative": "#19d3f3"}

STYLE = (
    BASE
    + """
.switches { display: flex; flex-wrap: wrap; gap: .4rem 1.5rem; margin: 0 0 1rem; }
.mark {
  display: inline-block; width: .8em; height: .8em; margin: 0 .15em 0 .3em; border-radius: 2px;
}
.switches span { white-space: nowrap; }
.planes { display: flex; gap: 1rem; align-items: flex-start; }
figure { flex: 1 1 0; min-width: 0; margin: 0; }
canvas { display: block; width: 100%; height: auto; background: #000; cursor: crosshair; }
figcaption { font-size: .9rem; margin-bottom: .25rem; }
figcaption span { color: var(--quiet); font-variant-numeric: tabular-nums; }
input[type="range"] { width: 100%; margin: .5rem 0 0; }
input, .mark { vertical-align: -.08em; }
input:focus-visible, .wide:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
.wide { display: inline-block; max-width: 100%; overflow-x: auto; margin-top: 1rem; }
.wide { border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .35rem .7rem; text-align: right; font-variant-numeric: tabular-nums; }
thead th { background: var(--raised); border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; }
tbody th { font-weight: inherit; }
.quiet { color: var(--quiet); font-size: .9rem; max-width: 60rem; }
#status:empty { display: none; }
@media (max-width: 40rem) {
  body { padding: 1rem; }
  .planes { flex-direction: column; max-width: none !important; }
  figure { width: 100%; }
  th, td { padding: .35rem .4rem; }
}
"""
)

SCRIPT = """
"use strict";
const shown = JSON.parse(document.getElementById("case").textContent);
const at = shown.start;  // the voxel in which the three planes meet
const stride = [1, shown.shape[0], shown.shape[0] * shown.shape[1]];
const volumes = {};
const planes = ["axial", "coronal", "sagittal"].map((name) => {
  const canvas = document.getElementById(name + "-canvas");
  const [u, v, w] = canvas.dataset.axes.split(" ").map(Number);  // right, up, the slider's
  const slider = document.getElementById(name);
  return {name, canvas, slider, u, v, w, width: shown.shape[u], height: shown.shape[v], rolled: 0};
});
let current = planes[0];

async function unpack(name) {
  const node = document.getElementById(name);
  if (node === null) return;
  const text = atob(node.textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  volumes[name] = new Uint8Array(await new Response(stream).arrayBuffer());
}
function isOn(name) {
  const box = document.getElementById("show-" + name);
  return box !== null && box.checked;
}
function ticked() {
  const boxes = document.querySelectorAll("[data-region]:checked");
  return Array.from(boxes, (box) => shown.regions[Number(box.dataset.region)]);
}
function rgba(colour, alpha) {  // as ImageData has it in memory
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return (alpha << 24 | blue << 16 | green << 8 | red) >>> 0;
}
function place(plane, column, row) {
  const {u, v, w, height} = plane;
  return column * stride[u] + (height - 1 - row) * stride[v] + at[w] * stride[w];
}
function paint(plane, colourAt, smooth) {
  const {canvas, width, height} = plane, small = document.createElement("canvas");
  [small.width, small.height] = [width, height];
  const pixels = new ImageData(width, height), colours = new Uint32Array(pixels.data.buffer);
  for (let row = 0, pixel = 0; row < height; row++) {
    for (let column = 0; column < width; column++, pixel++) {
      colours[pixel] = colourAt(place(plane, column, row));
    }
  }
  small.getContext("2d").putImageData(pixels, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = smooth;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}
function outline(plane, labels, region, thickness) {
  const {canvas, width, height} = plane, context = canvas.getContext("2d");
  const x = canvas.width / width, y = canvas.height / height;
  const inside = (column, row) => column >= 0 && column < width && row >= 0 && row < height
    && region.values.includes(labels[place(plane, column, row)]);
  const line = (x0, y0, x1, y1) => {
    context.moveTo(x0 * x, y0 * y);
    context.lineTo(x1 * x, y1 * y);
  };
  context.beginPath();
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (!inside(column, row)) continue;
      if (!inside(column, row - 1)) line(column, row, column + 1, row);
      if (!inside(column, row + 1)) line(column, row + 1, column + 1, row + 1);
      if (!inside(column - 1, row)) line(column, row, column, row + 1);
      if (!inside(column + 1, row)) line(column + 1, row, column + 1, row + 1);
    }
  }
  context.strokeStyle = region.colour;
  context.lineWidth = thickness;
  context.lineCap = "square";
  context.stroke();
}
function fill(plane, regions) {  // where regions are nested, the smallest one is seen
  const colours = new Uint32Array(256);
  const large = regions.slice().sort((a, b) => b.values.length - a.values.length);
  for (const {values, colour} of large) {
    for (const value of values) colours[value] = rgba(colour, 110);
  }
  paint(plane, (i) => colours[volumes.truth[i]], false);
}
function errors(plane, regions) {
  const [positive, negative] = Object.values(shown.errors).map((colour) => rgba(colour, 190));
  const inside = new Uint8Array(256);
  for (const {values} of regions) for (const value of values) inside[value] = 1;
  paint(plane, (i) => {
    const truth = inside[volumes.truth[i]], prediction = inside[volumes.prediction[i]];
    return truth === prediction ? 0 : prediction ? positive : negative;
  }, false);
}
function letters(plane) {
  const {canvas, u, v} = plane, context = canvas.getContext("2d");
  const {width, height} = canvas, [[left, right], [low, high]] = [shown.ends[u], shown.ends[v]];
  context.font = "22px system-ui, sans-serif";
  context.fillStyle = "#e6e6e6";
  context.strokeStyle = "#000000";
  context.lineWidth = 4;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const [text, x, y] of [[left, 14, height / 2], [right, width - 14, height / 2],
    [low, width / 2, height - 16], [high, width / 2, 16]]) {
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }
}
function draw(plane) {
  const {name, slider, w} = plane, regions = ticked();
  paint(plane, (i) => volumes.image[i] * 0x10101 + 0xff000000, true);
  if (isOn("truth")) fill(plane, regions);
  if (isOn("errors")) errors(plane, regions);
  if (isOn("prediction")) {
    regions.forEach((region, i) => {  // nested regions share edges: the first is the widest
      const thickness = Math.min(2 + (regions.length - 1 - i), 4);
      outline(plane, volumes.prediction, region, thickness);
    });
  }
  letters(plane);
  const number = shown.offset[w] + at[w] * shown.step[w] + 1;
  const text = `slice ${number} of ${shown.whole[w]}`;
  document.getElementById(name + "-slice").textContent = text;
  slider.value = at[w];
  slider.setAttribute("aria-valuetext", text);
}
function move(plane, index) {
  at[plane.w] = Math.min(Math.max(index, 0), shown.shape[plane.w] - 1);
  draw(plane);
}
function listen(plane) {
  const {canvas, slider, u, v, w} = plane;
  slider.addEventListener("input", () => { current = plane; move(plane, Number(slider.value)); });
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return;  // the browser's zoom
    event.preventDefault();
    plane.rolled += event.deltaMode === 0 ? event.deltaY / 50 : event.deltaY;
    const steps = Math.trunc(plane.rolled);
    plane.rolled -= steps;
    if (steps !== 0) move(plane, at[w] - Math.sign(steps));
  }, {passive: false});
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    at[u] = Math.floor((event.clientX - box.left) / box.width * shown.shape[u]);
    at[v] = Math.floor((box.bottom - event.clientY) / box.height * shown.shape[v]);
    for (const one of planes) move(one, at[one.w]);
    current = plane;
    slider.focus({preventScroll: true});
  });
}
document.addEventListener("keydown", (event) => {  // a focused slider moves by itself
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (step && event.target === document.body) move(current, at[current.w] + step);
});
async function start() {
  const status = document.getElementById("status");
  status.textContent = "Unpacking the volumes ...";
  try {
    await Promise.all(["image", "truth", "prediction"].map(unpack));
  } catch (error) {
    status.textContent = `The volumes cannot be unpacked (${error}); a newer browser may do it.`;
    return;
  }
  planes.forEach(listen);
  for (const box of document.querySelectorAll("input[type=checkbox]")) {
    box.addEventListener("change", () => planes.forEach(draw));
  }
  planes.forEach(draw);
  status.textContent = "";
}
start();
"""
