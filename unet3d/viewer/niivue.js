// Loads a case into NiiVue, and draws truth, prediction and errors over the scan.

const view = JSON.parse(document.getElementById("case").textContent);
const status = document.getElementById("status");
const LAYERS = ["image", "truth", "errors", "prediction"];  // from below
const LABEL_MAP = 1002;  // an intent code of NIfTI
const OUTLINED = 0.01;  // opacity within an outline; NiiVue leaves out what has none

function isOn(name) {
  const box = document.getElementById(`show-${name}`);
  return box !== null && box.checked;
}

function tickedRegions() {
  const boxes = document.querySelectorAll("[data-region]:checked");
  return Array.from(boxes, (box) => view.regions[Number(box.dataset.region)]);
}

function channels(colour) {  // "#rrggbb"
  return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
}

// A table of colours for NiiVue; colours: {label: "#rrggbb"}.
function table(colours) {
  const found = {R: [0], G: [0], B: [0], A: [0], I: [0]};
  for (const [label, colour] of Object.entries(colours)) {
    const [red, green, blue] = channels(colour);
    found.R.push(red);
    found.G.push(green);
    found.B.push(blue);
    found.A.push(255);
    found.I.push(Number(label));
  }
  if (found.I.length === 1) {  // NiiVue asks for two entries
    for (const name of ["R", "G", "B", "A"]) found[name].push(0);
    found.I.push(1);
  }
  return found;
}

function labelColours(regions) {  // where regions are nested, the smallest one shows
  const colours = {};
  const largestFirst = regions.slice();
  largestFirst.sort((a, b) => b.values.length - a.values.length);
  for (const {values, colour} of largestFirst) for (const value of values) colours[value] = colour;
  return colours;
}

// The widget of ipyniivue, with no notebook behind it. An option that is a function becomes a
// method of the Niivue object, which is how it is found.
async function makeNiivue(element) {
  const {default: widget} = await import(new URL(view.script, location.href).href);
  let niivue = null;
  const options = {
    isRadiologicalConvention: view.radiological,
    isNearestInterpolation: false,
    backColor: [0, 0, 0, 1],
    show3Dcrosshair: true,
    multiplanarShowRender: 1,
    multiplanarLayout: 2,
    multiplanarEqualSize: true,
    dragAndDropEnabled: false,
    viewModeHotKey: "",
    cycleClipPlaneHotKey: "",
    logLevel: "error",
    loadingText: "",
    setDrawingEnabled() { niivue = this; },  // the widget's last call
  };
  const values = {opts: options, volumes: [], meshes: [], height: 100, overlay_alpha_shader: 1,
    overlay_outline_width: 0, background_masks_overlays: 0, draw_opacity: 1,
    draw_fill_overwrites: true};
  const model = {
    get: (name) => values[name],
    set: (name, value) => { values[name] = value; },
    on() {},
    off() {},
    send() {},
    save_changes() {},
    widget_manager: {get_model: async () => null},
  };
  const log = console.log;  // the widget reports each step
  console.log = () => {};
  await widget.initialize({model});
  await widget.render({model, el: element});
  console.log = log;
  return niivue;
}

// All that is drawn over the scan, by what is ticked. NiiVue's volumes: the scan, then these.
function drawLayers(niivue) {
  const regions = tickedRegions();
  const opacity = Number(document.getElementById("opacity").value) / 100;
  const outlined = isOn("truth") || isOn("errors");  // which the prediction would hide
  for (const volume of niivue.volumes.slice(1)) {
    const name = volume.name.replace(".nii", "");
    const isPrediction = name === "prediction";
    // NiiVue outlines label maps alone; what it does not call one is filled.
    volume.hdr.intent_code = isPrediction ? LABEL_MAP : 0;
    volume.opacity = !isOn(name) ? 0 : isPrediction && outlined ? OUTLINED : opacity;
    volume.setColormapLabel(table(name === "errors"
      ? {1: view.errors.falsePositive, 2: view.errors.falseNegative} : labelColours(regions)));
    if (name === "errors" && isOn(name)) markErrors(niivue, volume, regions);
  }
  niivue.opts.atlasOutline = outlined && isOn("prediction") ? 1 : 0;  // opacity of an outline
  niivue.updateGLVolume();
}

function volumeOf(niivue, name) {
  return niivue.volumes.find((volume) => volume.name === `${name}.nii`);
}

// Of all ticked regions taken as one: 1 where the prediction alone has them, 2 the truth alone.
function markErrors(niivue, volume, regions) {
  const inside = new Uint8Array(256);
  for (const {values} of regions) for (const value of values) inside[value] = 1;
  const truth = volumeOf(niivue, "truth").img;
  const prediction = volumeOf(niivue, "prediction").img;
  for (let i = 0; i < truth.length; i++) {
    const [real, found] = [inside[truth[i]], inside[prediction[i]]];
    volume.img[i] = real === found ? 0 : found ? 1 : 2;
  }
}

// What stays as it is in the next case, as long as the tab is open.
function remember() {
  const boxes = document.querySelectorAll(".switches input[type=checkbox]");
  const kept = {view: document.getElementById("view").value,
    opacity: document.getElementById("opacity").value};
  for (const box of boxes) kept[box.id] = box.checked;
  sessionStorage.setItem("view", JSON.stringify(kept));
}

function recall() {
  for (const [id, value] of Object.entries(JSON.parse(sessionStorage.getItem("view") ?? "{}"))) {
    const node = document.getElementById(id);
    if (node === null) continue;
    if (typeof value === "boolean") node.checked = value;
    else node.value = value;
  }
}

function listen(niivue) {
  const views = document.getElementById("view");
  views.addEventListener("change", () => {
    niivue.setSliceType(Number(views.value));
    remember();
  });
  for (const box of document.querySelectorAll("input")) {
    box.addEventListener("input", () => {
      drawLayers(niivue);
      remember();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === views) return;
    const name = {1: "truth", 2: "prediction", 3: "errors"}[event.key];
    document.getElementById(`show-${name}`)?.click();
    if (event.key.toLowerCase() === "v") {
      views.selectedIndex = (views.selectedIndex + 1) % views.length;
      views.dispatchEvent(new Event("change"));
    }
  });
  niivue.onLocationChange = (place) => {
    const mm = Array.from(place.mm).slice(0, 3).map((value) => value.toFixed(1)).join(", ");
    const values = place.values.filter(({name}) => name !== "errors.nii").map(({name, value}) =>
      `${name.replace(".nii", "")} ${Number(value.toPrecision(5))}`);
    document.getElementById("location").textContent = `${mm} mm: ${values.join(", ")}`;
  };
}

async function start() {
  status.textContent = "Loading the case ...";
  const niivue = await makeNiivue(document.getElementById("niivue"));
  const files = {...view.files};
  if ("truth" in files) files.errors = files.prediction;  // its voxels are written over
  const [low, high] = view.window;
  await niivue.loadVolumes(LAYERS.filter((name) => name in files).map((name) => ({
    url: new URL(files[name], location.href).href,
    name: `${name}.nii`,
    ...(name === "image" ? {colormap: "gray", cal_min: low, cal_max: high} : {}),
  })));
  recall();
  niivue.setSliceType(Number(document.getElementById("view").value));
  listen(niivue);
  drawLayers(niivue);
  niivue.scene.crosshairPos = view.centre;
  niivue.drawScene();
  niivue.createOnLocationChange();
  window.niivue = niivue;  // for those who want more of it, from the browser's console
  status.textContent = "";
}

start().catch((error) => {
  status.textContent = `NiiVue cannot show this case (${error.message ?? error}); `
    + "serve=false writes a page that needs no WebGL.";
});
