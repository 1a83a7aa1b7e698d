// Wires the page together: the controls, the address bar, and one animation loop.
import { drawLosses, drawRatios, ratioKey } from "#page/curves.js";
import { Graph } from "#page/graph.js";
import { largest, refreshColours } from "#page/heatmap.js";
import { Network } from "#page/network.js";
import { PlaceView } from "#page/place.js";
import { Terms } from "#page/terms.js";
import { welcome } from "#page/welcome.js";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const FRAME_MS = 25; // of training between two pictures
const MOST_REPLAYED = 5000;

const address = new URLSearchParams(location.hash.slice(1));
const numberOf = (key, otherwise, allowed) => {
  const value = Number(address.get(key) ?? NaN);
  return Number.isFinite(value) && value >= 0 && (!allowed || allowed.includes(value)) ? value : otherwise;
};
const preferred = (size, offered) => (offered.includes(size) ? size : offered[0]);
const network = new Network(data, {
  seed: numberOf("seed", 1) >>> 0,
  hidden: numberOf("hidden", preferred(64, data.hidden), data.hidden),
  batch: numberOf("batch", preferred(32, data.batches), data.batches),
  rate: numberOf("rate", 0.1),
  overfit: address.get("overfit") === "1",
  mistake: data.mistakes.some(({ name }) => name === address.get("mistake")) ? address.get("mistake") : "",
});

let playing = false;
const toGraph = () => graph.focusable(view.name).focus();
const follow = (name, place = null) => {
  open(name, place);
  if (!matchMedia("(max-width: 800px)").matches) {
    graph.focusable(name).scrollIntoView({ block: "nearest" });
    if (place === null) $("place").scrollTop = 0;
  }
  $("place").focus({ preventScroll: true });
};
const view = new PlaceView($("place"), data, { backToGraph: toGraph, follow });
const graph = new Graph($("graph"), data, (name) => open(name));

function open(name, place = null) {
  graph.select(name);
  view.open(name, network, place);
  if (place !== null) $("place").querySelector(".number")?.scrollIntoView({ block: "nearest" });
  else if (matchMedia("(max-width: 800px)").matches) {
    $("place").scrollIntoView();
    $("place").focus({ preventScroll: true });
  }
  remember();
}

/** How far each cotangent is off, relative to the right one; for those that are 0, to its terms. */
function offs() {
  if (!network.broken) return {};
  const terms = Terms.of(network.backward);
  return Object.fromEntries(data.cotangents.map((name) => {
    const [ours, right] = [network.cotangents, network.right].map((all) => all[`d${name}`]);
    const off = largest(ours.map((x, i) => x - right[i]));
    let scale = largest(right);
    if (scale < 1e-12) scale = terms.of(`d${name}`, 0).reduce((sum, { value }) => sum + Math.abs(value), 0);
    const relative = off / (scale || 1);
    return [name, relative < 1e-9 ? 0 : relative];
  }));
}

function refresh({ quick = false } = {}) {
  $("step").textContent = network.step.toLocaleString("en");
  $("loss").textContent = network.values.loss[0].toFixed(4);
  const steps = network.snapshots.map(({ step }) => step);
  $("time").max = steps.length - 1;
  $("time").value = steps.findLastIndex((step) => step <= network.step);
  $("time").setAttribute("aria-valuetext", `step ${network.step}`);
  drawLosses($("loss-curve"), network);
  drawRatios($("ratio-curve"), network);
  if (quick) return;
  graph.update(network, offs());
  view.update(playing);
}

function samples() {
  $("samples").replaceChildren(...network.sample(10).map((word) => {
    const line = document.createElement("span");
    line.textContent = word || "(empty)";
    return line;
  }));
}

function remember() {
  const { seed, hidden, batch, rate, overfit, mistake } = network.options;
  const state = new URLSearchParams({ seed, hidden, batch, rate, step: network.step });
  if (overfit) state.set("overfit", "1");
  if (mistake) state.set("mistake", mistake);
  if (view.name) state.set("place", view.name);
  history.replaceState(null, "", `#${state}`);
}

function settled(message) {
  refresh();
  samples();
  remember();
  if (message) $("status").textContent = message;
}

/** Frames between two drawings of the graph. */
const between = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? 40 : 6);
const diverged = () => !Number.isFinite(network.values.loss[0]);

function loop(frames = 0) {
  if (!playing) return;
  const end = performance.now() + FRAME_MS;
  do network.train(); while (performance.now() < end && !diverged());
  if (diverged()) return pause("The loss is no longer finite: lower the learning rate, then reset.");
  refresh({ quick: frames % between() !== 0 });
  if (frames % 40 === 0) samples();
  requestAnimationFrame(() => loop(frames + 1));
}

function pause(message) {
  playing = false;
  $("play").textContent = "Play";
  settled(message ?? `Paused at step ${network.step}, loss ${network.values.loss[0].toFixed(4)}.`);
}

function play() {
  playing = true;
  $("play").textContent = "Pause";
  $("status").textContent = "";
  loop();
}

function oneStep() {
  if (playing) return pause();
  network.train();
  settled(`Step ${network.step}, loss ${network.values.loss[0].toFixed(4)}.`);
}

function change(options) {
  network.change(options);
  const mistake = data.mistakes.find(({ name }) => name === network.options.mistake);
  $("broken").hidden = !mistake;
  if (mistake) {
    $("broken").replaceChildren(`${mistake.title}. In the line of d${mistake.place}, `, code(mistake.right),
      " has become ", code(mistake.wrong), ". Training goes on with it. The tiles say how far each cotangent is off, " +
        "as a share of its largest right element (of its terms where that is 0).");
  }
  if (view.name) view.open(view.name, network, null);
  settled(diverged() ? "" : `Loss ${network.values.loss[0].toFixed(4)} at step ${network.step}.`);
}

function code(text) {
  const box = document.createElement("code");
  box.textContent = text;
  return box;
}

function fill(id, options, value) {
  $(id).replaceChildren(...options.map(([key, text]) => new Option(text, key)));
  $(id).value = value;
}

/** The menu of mistakes, grouped by the line that each is in. */
function fillMistakes() {
  $("mistake").replaceChildren(new Option("nothing: the right lines", ""));
  for (const place of data.cotangents) {
    const group = document.createElement("optgroup");
    group.label = `d${place}`;
    group.append(...data.mistakes.filter((mistake) => mistake.place === place)
      .map(({ name, title }) => new Option(title, name)));
    if (group.children.length) $("mistake").append(group);
  }
  $("mistake").value = network.options.mistake;
}

function setUp() {
  const { trained, words, sizes } = data;
  $("intro").textContent = `A network that reads ${sizes.T} letters of a name and predicts the next. ` +
    `${trained ? `It was trained by the run ${trained.name}; Play goes on training it` : "Play trains it"} on ` +
    `${words.length.toLocaleString("en")} names, with gradients from the hand-derived lines shown here.`;
  $("uniform").textContent = `; even guesses cost ${Math.log(sizes.V).toFixed(2)}`;
  $("about").textContent = `Written by jaxmore ${data.version}. The programs in this page are traced from ` +
    "jaxmore/ninja/stepwise.py; the page needs no network.";
  fill("batch", data.batches.map((n) => [n, n]), network.options.batch);
  fill("hidden", data.hidden.map((n) => [n, n]), network.options.hidden);
  fillMistakes();
  $("rate").value = network.options.rate;
  $("seed").value = network.options.seed;
  $("overfit").checked = network.options.overfit;
  $("seed").disabled = $("hidden").disabled = false;
  ratioKey($("ratio-key"), data.parameters);
  $("play").addEventListener("click", () => (playing ? pause() : play()));
  $("one-step").addEventListener("click", oneStep);
  $("reset").addEventListener("click", () => { network.reset(); settled(`Back to step 0, with the parameters of seed ${network.options.seed}.`); });
  $("help").addEventListener("click", () => welcome($("welcome"), true));
  $("time").addEventListener("input", (event) => {
    if (playing) pause();
    network.goTo(network.snapshots[event.target.value]);
    refresh();
  });
  $("time").addEventListener("change", () => settled(`Step ${network.step}.`));
  $("rate").addEventListener("change", () => {
    const rate = Number($("rate").value);
    if (rate > 0 && rate <= 10) change({ rate });
    else $("status").textContent = "The learning rate lies above 0 and up to 10.";
  });
  $("batch").addEventListener("change", (event) => change({ batch: Number(event.target.value) }));
  $("hidden").addEventListener("change", (event) => change({ hidden: Number(event.target.value) }));
  $("seed").addEventListener("change", (event) => change({ seed: Number(event.target.value) >>> 0 }));
  $("overfit").addEventListener("change", (event) => change({ overfit: event.target.checked }));
  $("mistake").addEventListener("change", (event) => change({ mistake: event.target.value }));
  addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "p") $("play").click();
    if (event.key === "s") $("one-step").click();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { refreshColours(); refresh(); });
  addEventListener("resize", () => refresh({ quick: true }));
}

setUp();
for (let i = Math.min(numberOf("step", 0), MOST_REPLAYED); i > 0 && !diverged(); i--) network.train();
const first = address.get("place");
view.name = data.places[first] ? first : "logits";
graph.select(view.name);
change({});
welcome($("welcome"), false);
window.explorer = { network, view, graph, data }; // for the tests and the curious
