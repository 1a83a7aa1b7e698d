// Wires the page of a trained model together.
import { drawLosses } from "#page/curves.js";
import { Graph } from "#page/graph.js";
import { bigMap, largest, refreshColours } from "#page/heatmap.js";
import { ModelNetwork } from "#page/model-network.js";
import { element, short } from "#page/terms.js";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const FRAME_MS = 25; // of training between two pictures
const network = new ModelNetwork(data, 0.01);
const graph = new Graph($("graph"), data, open);
let playing = false;
let opened = null;

function open(path) {
  graph.select(path);
  const { line, reads, users } = data.places[path];
  const d = `d${path}`;
  $("place").innerHTML = `<button type="button" class="to-graph">Back to the graph</button>
    <h2 id="place-title"></h2><pre></pre><p class="quiet"></p><div class="maps"></div>
    <div class="number" aria-live="polite"></div>`;
  const find = (selector) => $("place").querySelector(selector);
  find(".to-graph").addEventListener("click", () => graph.focusable(path).focus());
  find("h2").textContent = `${path} and ${d}`;
  find("pre").textContent = line || "a parameter";
  find("p").textContent = [reads.length && `Made of ${reads.join(", ")}.`, users.length && `Used by ${users.join(", ")}.`]
    .filter(Boolean).join(" ");
  const value = bigMap("Value", path, valueAt(path), network.shape(path));
  const cotangent = bigMap("Cotangent", d, network.cotangents[d], network.shape(path), number);
  find(".maps").append(value.box, cotangent.box);
  opened = { path, value, cotangent, place: largestPlace(network.cotangents[d]) };
  number(opened.place);
  if (matchMedia("(max-width: 800px)").matches && document.activeElement?.matches(".tile")) {
    $("place").scrollIntoView();
    $("place").focus({ preventScroll: true });
  }
}

const valueAt = (path) => network.params[path] ?? network.values[path];
const largestPlace = (array) => array.reduce((best, x, i) => (Math.abs(x) > Math.abs(array[best]) ? i : best), 0);

/** One element of the open cotangent, and a second way to it that shares no code with the rules. */
function number(place) {
  opened.place = place;
  const { path } = opened;
  const all = network.cotangents[`d${path}`];
  const by = network.byDifferences(path, place);
  const agrees = Math.abs(by - all[place]) <= 1e-4 * Math.max(Math.abs(by), 1e-3 * largest(all)) + 1e-9;
  const box = $("place").querySelector(".number");
  box.innerHTML = `<h3></h3><p><span class="mono value"></span></p><p class="check">Check by central differences
    (move it there, look at the loss): <span class="mono by"></span>, <span class="verdict"></span></p>`;
  box.querySelector("h3").textContent = `One number: ${element(`d${path}`, network.shape(path), place)}`;
  box.querySelector(".value").textContent = short(all[place]);
  box.querySelector(".by").textContent = short(by);
  const verdict = box.querySelector(".verdict");
  verdict.classList.add(agrees ? "right" : "wrong");
  verdict.textContent = agrees ? "✓ agrees" : "✗ differs";
}

/** Each place of the word: what comes, how likely the model finds it, what it finds likeliest. */
function predictions() {
  const logits = network.values[data.logits];
  const V = data.characters.length;
  const { y } = data.shown;
  const characters = [...data.characters];
  $("predictions").tBodies[0].replaceChildren(...y.map((target, i) => {
    const row = logits.subarray(i * V, i * V + V);
    const top = row.reduce((a, b) => Math.max(a, b));
    const weights = Array.from(row, (x) => Math.exp(x - top));
    const sum = weights.reduce((a, b) => a + b);
    const line = document.createElement("tr");
    const cells = [characters[0] + [...data.word].slice(0, i).join(""), characters[target],
      (weights[target] / sum).toFixed(3), characters[weights.indexOf(1)]];
    line.append(...cells.map((text, k) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      cell.className = k === 2 ? "n" : "mono";
      return cell;
    }));
    return line;
  }));
}

function refresh({ quick = false } = {}) {
  $("step").textContent = network.step.toLocaleString("en");
  $("loss").textContent = network.values.loss[0].toFixed(4);
  drawLosses($("loss-curve"), { losses: network.losses.slice(0, -1), step: Math.max(network.losses.length - 1, 0),
    values: { loss: [network.losses.at(-1) ?? network.values.loss[0]] } });
  if (quick) return;
  predictions();
  graph.update(network, {});
  opened.value.update(valueAt(opened.path), playing);
  opened.cotangent.update(network.cotangents[`d${opened.path}`], playing);
  number(opened.place);
}

const diverged = () => !Number.isFinite(network.losses.at(-1) ?? 0);
const settled = (message) => {
  network.evaluate();
  refresh();
  $("status").textContent = message;
};

function pause(message) {
  playing = false;
  $("play").textContent = "Play";
  settled(message ?? `Paused at step ${network.step}.`);
}

function loop(frames = 0) {
  if (!playing) return;
  const end = performance.now() + FRAME_MS;
  do network.train(); while (performance.now() < end && !diverged());
  if (diverged()) return pause("The loss is no longer finite: lower the learning rate, then reset.");
  network.evaluate();
  const between = matchMedia("(prefers-reduced-motion: reduce)").matches ? 40 : 6;
  refresh({ quick: frames % between !== 0 });
  requestAnimationFrame(() => loop(frames + 1));
}

$("intro").textContent = `The word “${data.word}” in the ${data.type} of ${data.name}, after ` +
  `${data.trainedSteps.toLocaleString("en")} steps of training. Every cotangent on this page is computed by ` +
  "the model's hand-derived rules, and training goes on with them, by plain gradient descent.";
$("about").textContent = `Written by jaxmore ${data.version}. The programs in this page are traced from the ` +
  "model's own fwd and bwd, as in training; the page needs no network.";
$("play").addEventListener("click", () => {
  if (playing) return pause();
  playing = true;
  $("play").textContent = "Pause";
  $("status").textContent = "";
  loop();
});
$("one-step").addEventListener("click", () => {
  if (playing) return pause();
  network.train();
  settled(`Step ${network.step}.`);
});
$("reset").addEventListener("click", () => { network.reset(); settled("Reset."); });
$("rate").addEventListener("change", () => {
  const rate = Number($("rate").value);
  if (rate > 0 && rate <= 10) network.rate = rate;
  else $("status").textContent = "The learning rate lies above 0 and up to 10.";
});
addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "p") $("play").click();
  if (event.key === "s") $("one-step").click();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { refreshColours(); refresh(); });
addEventListener("resize", () => refresh({ quick: true }));
open(data.logits);
refresh();
window.explorer = { network, graph, data }; // for the tests and the curious
