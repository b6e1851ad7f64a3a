// The page: a label map in, synthetic volumes out.

import { ServerError, bytes, json, request, setToken, synthesize } from "./client.js";
import { Viewers } from "./viewers.js";

const at = (id) => document.getElementById(id);
const NO_TRUNCATION = 4;

const page = { models: [], model: null, labelMap: null, fileName: "", name: "", hidden: new Set(), job: null };
const viewers = new Viewers(at("grid"), (place) => showPlace(place));
let urls = [];

function say(text, isError = false) {
  at("status").textContent = text;
  at("status").classList.toggle("error", isError);
}

async function start() {
  try {
    const answer = await json("api/models");
    page.models = answer.models;
    page.limits = answer.limits;
  } catch (error) {
    if (error.status === 401) return askToken();
    return say(error.message, true);
  }
  at("model").replaceChildren(...page.models.map((model) => new Option(model.name)));
  at("model-choice").hidden = page.models.length < 2;
  at("no-webgl").hidden = viewers.works;
  selectModel(page.models[0]);
  setView("multi");
  document.body.dataset.ready = "true";
}

function askToken() {
  const dialog = at("token-dialog");
  dialog.showModal();
  dialog.addEventListener("close", () => {
    setToken(at("token").value);
    start();
  }, { once: true });
}

function selectModel(model) {
  page.model = model;
  page.hidden.clear();
  const step = model.step ? `, step ${model.step}` : "";
  at("model-line").textContent = `${model.name}, version ${model.version}${step}`;
  at("noise").disabled = !model.has_noise;
  at("label-source").replaceChildren(
    new Option("find out", ""), ...["model", ...model.label_sources].map((name) => new Option(name)),
  );
  at("source-choice").hidden = model.label_sources.length === 0;
  at("classes").replaceChildren(...model.classes.map(legendEntry));
}

function legendEntry(entry) {
  const item = document.createElement("li");
  const label = document.createElement("label");
  const box = document.createElement("input");
  Object.assign(box, { type: "checkbox", checked: true });
  box.dataset.id = entry.id;
  box.addEventListener("change", () => {
    page.hidden[box.checked ? "delete" : "add"](entry.id);
    viewers.setClasses(colours());
  });
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = `rgb(${entry.colour.join(",")})`;
  label.append(box, swatch, `${entry.id} ${entry.name}`);
  item.append(label);
  return item;
}

function setAllClasses(checked) {
  for (const box of at("classes").querySelectorAll("input")) {
    box.checked = checked;
    page.hidden[checked ? "delete" : "add"](Number(box.dataset.id));
  }
  viewers.setClasses(colours());
}

function colours() {
  const classes = page.model.classes;
  // In planes, NiiVue paints hidden classes in their colour all the same.
  const isHidden = classes.map(({ id }) => id === 0 || page.hidden.has(id));
  const channel = (number) => classes.map(({ colour }, id) => (isHidden[id] ? 0 : colour[number]));
  return {
    R: channel(0), G: channel(1), B: channel(2), A: isHidden.map((is) => (is ? 0 : 255)),
    I: classes.map((entry) => entry.id), labels: classes.map((entry) => entry.name),
  };
}

async function take(file, name) {
  if (page.limits && file.size > page.limits.body_bytes) {
    return say(`The file is larger than ${page.limits.body_bytes >> 20} MB, the limit.`, true);
  }
  page.labelMap = file;
  page.fileName = name;
  page.name = name.replace(/\.(nii|nii\.gz|mgh|mgz|nrrd|mha|dcm|zip)$/i, "");
  at("file-name").textContent = name;
  at("run").disabled = false;
  await run();
}

function values() {
  const found = { model: page.model.name, samples: at("samples").value, seed: at("seed").value };
  if (/\.[a-z]+$/i.test(page.fileName)) found.file_name = page.fileName;
  const truncation = Number(at("truncation").value);
  if (truncation < NO_TRUNCATION) found.truncation = truncation;
  if (Number(at("blend").value) > 0) {
    Object.assign(found, { other_seed: at("other-seed").value, blend: at("blend").value });
  }
  if (at("label-source").value) found.label_source = at("label-source").value;
  return found;
}

async function run() {
  if (!page.labelMap) return;
  page.job?.abort();
  const job = new AbortController();
  page.job = job;
  const { labelMap, name } = page; // another file may be chosen before the results are here
  busy(true);
  say("Sending the label map.");
  let hasLabelMap = false;
  try {
    const last = await synthesize(labelMap, values(), (state) => {
      showProgress(state);
      if (state.label_map && !hasLabelMap) {
        hasLabelMap = true;
        showLabelMap(state, name, job.signal).catch((error) => say(error.message, true));
      }
    }, job.signal);
    if (last.state !== "done") throw new ServerError(last.error || "The server stopped the job.");
    if (job.signal.aborted) return;
    await showSamples(last, name, job.signal);
    if (job.signal.aborted) return;
    say(`Finished: ${last.results.length} volume${last.results.length > 1 ? "s" : ""}.`);
  } catch (error) {
    if (job.signal.aborted) { if (page.job === job) say("Cancelled."); } else say(error.message, true);
  } finally {
    if (page.job === job) { page.job = null; busy(false); }
  }
}

function busy(is) {
  at("cancel").hidden = !is;
  at("progress").hidden = !is;
  at("progress").value = 0;
  document.body.dataset.busy = is;
}

function showProgress(state) {
  const done = state.results.length + (state.slices ? state.slice / state.slices : 0);
  at("progress").value = Math.min(1, done / state.samples);
  if (state.state === "queued") say("Waiting for the model.");
  else if (state.slices) {
    say(`Sample ${Math.min(state.results.length + 1, state.samples)} of ${state.samples}: ` +
      `slice ${state.slice} of ${state.slices}.`);
  }
  at("warnings").replaceChildren(...state.warnings.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
}

async function showLabelMap(state, name, signal) {
  const buffer = await bytes(state.label_map);
  if (signal.aborted) return;
  await viewers.slot(0, `Label map: ${name}`, [link("label map", buffer, "classes.nii.gz")]);
  await viewers.show(0, buffer, { classes: colours(), range: {} });
}

async function showSamples(state, name, signal) {
  const old = urls;
  urls = [];
  for (const [number, { volume, record }] of state.results.entries()) {
    const [image, json] = await Promise.all([bytes(volume), bytes(record)]);
    if (signal.aborted) return;
    const origin = JSON.parse(new TextDecoder().decode(json));
    const stem = `${name}_synthetic_seed${origin.seed}`;
    const links = [
      link("volume", image, `${stem}.nii.gz`, urls), link("record", json, `${stem}.json`, urls),
    ];
    await viewers.slot(number + 1, title(origin), links);
    const source = origin.intensity.source;
    const range = { cal_min: source[0], cal_max: source[source.length - 1] };
    await viewers.show(number + 1, image, { range });
  }
  viewers.keep(state.results.length + 1);
  old.forEach((url) => URL.revokeObjectURL(url));
}

function title({ seed, interpolated_to: other, blend, truncation }) {
  const parts = [`seed ${seed}`];
  if (other !== null) parts.push(`${Math.round(blend * 100)} % towards seed ${other}`);
  if (truncation !== null) parts.push(`truncation ${truncation}`);
  return `Synthetic MR, ${parts.join(", ")}`;
}

function link(text, buffer, name, kept = []) {
  const url = URL.createObjectURL(new Blob([buffer]));
  kept.push(url);
  return { text, url, name };
}

function showPlace(place) {
  const id = place.values?.[0]?.value;
  const found = page.model.classes[Math.round(id)];
  const mm = Array.from(place.mm).slice(0, 3).map((each) => each.toFixed(1)).join(", ");
  at("place").textContent = `${mm} mm (RAS)${found ? `: ${found.name}` : ""}`;
}

function setView(view) {
  viewers.setView(view);
  for (const button of at("views").children) {
    button.setAttribute("aria-checked", button.dataset.view === view);
  }
}

function showValues() {
  const truncation = Number(at("truncation").value);
  const blend = Number(at("blend").value);
  at("seed-out").textContent = at("seed").value;
  at("truncation-out").textContent = truncation < NO_TRUNCATION ? truncation.toFixed(1) : "none";
  at("blend-out").textContent = blend ? `${Math.round(blend * 100)} %` : "off";
}

at("controls").addEventListener("submit", (event) => { event.preventDefault(); run(); });
at("controls").addEventListener("input", showValues);
at("noise").addEventListener("change", (event) => {
  if (at("live").checked && event.target.id !== "live") run();
});
at("label-source").addEventListener("change", run);
at("cancel").addEventListener("click", () => page.job?.abort());
at("all-classes").addEventListener("click", () => setAllClasses(true));
at("no-classes").addEventListener("click", () => setAllClasses(false));
at("model").addEventListener("change", () => {
  selectModel(page.models[at("model").selectedIndex]);
  run(); // the legend is that of the new model
});
at("file").addEventListener("change", () => {
  const [file] = at("file").files;
  if (file) take(file, file.name);
});
at("phantom").addEventListener("click", async () => {
  try {
    const answer = await request(`phantom.nii.gz?model=${encodeURIComponent(page.model.name)}`);
    await take(await answer.blob(), "phantom.nii.gz");
  } catch (error) { say(error.message, true); }
});
at("views").addEventListener("click", (event) => {
  if (event.target.dataset.view) setView(event.target.dataset.view);
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    const [file] = event.dataTransfer?.files ?? [];
    if (name === "drop" && file) take(file, file.name);
  });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
  const view = at("views").children[Number(event.key) - 1];
  if (view) setView(view.dataset.view);
  else if (event.key === "s" || event.key === "S") run();
  else if (event.key === "Escape") page.job?.abort();
});
start();
