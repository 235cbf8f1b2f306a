"use strict";
// Unpacks the volumes of the page, draws three planes through one voxel, and moves that voxel.

const view = JSON.parse(document.getElementById("case").textContent);
const cursor = view.start;  // the voxel in which the three planes meet
const stride = [1, view.shape[0], view.shape[0] * view.shape[1]];  // x is fastest
const volumes = {};  // image, truth, prediction: uint8
const planes = ["axial", "coronal", "sagittal"].map((name) => {
  const canvas = document.getElementById(`${name}-canvas`);
  const slider = document.getElementById(name);
  const [u, v, w] = canvas.dataset.axes.split(" ").map(Number);  // right, up, the slider's
  const [width, height] = [view.shape[u], view.shape[v]];  // voxels
  return {name, canvas, slider, u, v, w, width, height, scrolled: 0};
});
let current = planes[0];  // the one that the arrow keys move

async function unpack(name) {
  const node = document.getElementById(name);
  if (node === null) return;
  const text = atob(node.textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  volumes[name] = new Uint8Array(await new Response(stream).arrayBuffer());
}

function isOn(name) {
  const box = document.getElementById(`show-${name}`);
  return box !== null && box.checked;
}

function tickedRegions() {
  const boxes = document.querySelectorAll("[data-region]:checked");
  return Array.from(boxes, (box) => view.regions[Number(box.dataset.region)]);
}

function pixelOf(colour, alpha) {  // "#rrggbb" as ImageData has it in memory
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return (alpha << 24 | blue << 16 | green << 8 | red) >>> 0;
}

// The index along u of what is drawn in a column, and the reverse.
function acrossOf(plane, column) {
  return view.mirrored && plane.u === 0 ? plane.width - 1 - column : column;
}

function voxelAt(plane, column, row) {  // index into a volume; rows count from the top
  const {u, v, w, height} = plane;
  return acrossOf(plane, column) * stride[u] + (height - 1 - row) * stride[v] + cursor[w] * stride[w];
}

// Draws a plane over what its canvas shows; pixelAt: voxel index -> pixel.
function paint(plane, pixelAt, smooth) {
  const {canvas, width, height} = plane;
  const data = new ImageData(width, height);
  const pixels = new Uint32Array(data.data.buffer);
  for (let row = 0, i = 0; row < height; row++) {
    for (let column = 0; column < width; column++, i++) {
      pixels[i] = pixelAt(voxelAt(plane, column, row));
    }
  }
  const small = document.createElement("canvas");  // a pixel a voxel
  [small.width, small.height] = [width, height];
  small.getContext("2d").putImageData(data, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = smooth;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

function drawOutline(plane, labels, region, thickness) {
  const {canvas, width, height} = plane;
  const context = canvas.getContext("2d");
  const x = canvas.width / width;
  const y = canvas.height / height;
  const inside = (column, row) => column >= 0 && column < width && row >= 0 && row < height
    && region.values.includes(labels[voxelAt(plane, column, row)]);
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

function drawPrediction(plane, regions) {
  regions.forEach((region, i) => {  // nested regions share edges: the first is the widest
    const thickness = Math.min(2 + (regions.length - 1 - i), 4);
    drawOutline(plane, volumes.prediction, region, thickness);
  });
}

function drawTruth(plane, regions) {  // where regions are nested, the smallest one shows
  const pixels = new Uint32Array(256);
  const largestFirst = regions.slice();
  largestFirst.sort((a, b) => b.values.length - a.values.length);
  for (const {values, colour} of largestFirst) {
    for (const value of values) pixels[value] = pixelOf(colour, 110);
  }
  paint(plane, (i) => pixels[volumes.truth[i]], false);
}

function drawErrors(plane, regions) {  // of all ticked regions taken as one
  const falsePositive = pixelOf(view.errors.falsePositive, 190);
  const falseNegative = pixelOf(view.errors.falseNegative, 190);
  const inside = new Uint8Array(256);
  for (const {values} of regions) for (const value of values) inside[value] = 1;
  paint(plane, (i) => {
    const truth = inside[volumes.truth[i]];
    const prediction = inside[volumes.prediction[i]];
    if (truth === prediction) return 0;
    return prediction ? falsePositive : falseNegative;
  }, false);
}

function drawDirections(plane) {  // L, R, P, A, I and S at the edges
  const {canvas, u, v} = plane;
  const {width, height} = canvas;
  const [[left, right], [low, high]] = [view.ends[u], view.ends[v]];
  const context = canvas.getContext("2d");
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
  const {name, slider, w} = plane;
  const regions = tickedRegions();
  paint(plane, (i) => volumes.image[i] * 0x10101 + 0xff000000, true);
  if (isOn("truth")) drawTruth(plane, regions);
  if (isOn("errors")) drawErrors(plane, regions);
  if (isOn("prediction")) drawPrediction(plane, regions);
  drawDirections(plane);
  const number = view.offset[w] + cursor[w] * view.step[w] + 1;
  const text = `slice ${number} of ${view.fullShape[w]}`;
  document.getElementById(`${name}-slice`).textContent = text;
  slider.value = cursor[w];
  slider.setAttribute("aria-valuetext", text);
}

function moveTo(plane, index) {
  cursor[plane.w] = Math.min(Math.max(index, 0), view.shape[plane.w] - 1);
  draw(plane);
}

function onWheel(plane, event) {
  if (event.ctrlKey) return;  // the browser's zoom
  event.preventDefault();
  plane.scrolled += event.deltaMode === 0 ? event.deltaY / 50 : event.deltaY;
  const steps = Math.trunc(plane.scrolled);
  plane.scrolled -= steps;
  if (steps !== 0) moveTo(plane, cursor[plane.w] - Math.sign(steps));
}

function onClick(plane, event) {
  const {canvas, slider, u, v} = plane;
  const box = canvas.getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left) / box.width * view.shape[u]);
  cursor[u] = acrossOf(plane, column);
  cursor[v] = Math.floor((box.bottom - event.clientY) / box.height * view.shape[v]);
  for (const each of planes) moveTo(each, cursor[each.w]);
  current = plane;
  slider.focus({preventScroll: true});
}

function onKey(event) {
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  const focused = event.target !== document.body;  // a focused slider moves by itself
  if (step && !focused) moveTo(current, cursor[current.w] + step);
}

function listen() {
  for (const plane of planes) {
    plane.slider.addEventListener("input", () => {
      current = plane;
      moveTo(plane, Number(plane.slider.value));
    });
    plane.canvas.addEventListener("wheel", (event) => onWheel(plane, event), {passive: false});
    plane.canvas.addEventListener("click", (event) => onClick(plane, event));
  }
  for (const box of document.querySelectorAll("input[type=checkbox]")) {
    box.addEventListener("change", () => planes.forEach(draw));
  }
  document.addEventListener("keydown", onKey);
}

async function start() {
  const status = document.getElementById("status");
  status.textContent = "Unpacking the volumes ...";
  try {
    await Promise.all(["image", "truth", "prediction"].map(unpack));
  } catch (error) {
    status.textContent = `The volumes could not be unpacked (${error}); try a newer browser.`;
    return;
  }
  listen();
  planes.forEach(draw);
  status.textContent = "";
}

start();
