// One place, opened: its lines, formula, derivation, heat maps, one number as a sum, the exercise.
import { exercise } from "#page/exercise.js";
import { bigMap } from "#page/heatmap.js";
import { Terms, element, short } from "#page/terms.js";

const MOST_TERMS = 12;
const LETTERS = "i: an example of the batch, n of them. j: a hidden unit. v and u: a character. t: a position in the context. " +
  "k: one number of an embedding of E. ⊙: element by element. ⊤: transposed. [v = a]: 1 where v is a, else 0. " +
  "In the code, params holds the parameters and v the values of the forward pass.";

export class PlaceView {
  /** `follow(name, place)` opens the element of another cotangent. */
  constructor(panel, data, { backToGraph, follow }) {
    Object.assign(this, { panel, data, backToGraph, follow, name: null });
  }

  open(name, network, place = null) {
    const { panel, data } = this;
    Object.assign(this, { name, network, place });
    const { forward, backward, formula, derivation } = data.places[name];
    panel.innerHTML = `<button type="button" class="to-graph">Back to the graph</button>
      <h2 id="place-title"></h2><p class="around"></p><h3>Forward</h3><pre class="forward"></pre>
      <div class="answer"><h3>Backward</h3><p class="planted" hidden></p><pre class="backward"></pre><div class="formula" role="region" tabindex="0" aria-label="Formula"></div>
      <p class="derivation"></p><details class="letters"><summary>What the letters mean</summary><p class="quiet">${LETTERS}</p></details></div><div class="maps"></div><div class="number" aria-live="polite"></div>
      <div class="exercise"></div>`;
    const find = (selector) => panel.querySelector(selector);
    find(".to-graph").addEventListener("click", this.backToGraph);
    find("#place-title").textContent = `${name} and d${name}`;
    code(find(".forward"), forward);
    code(find(".backward"), backward);
    find(".formula").innerHTML = formula;
    find(".derivation").textContent = derivation;
    this.around();
    this.planted();
    const shape = network.shape(name);
    this.value = bigMap("Value", name, this.valueOf(name), shape);
    find(".maps").append(this.value.box);
    this.cotangent = null;
    if (name === "loss") {
      for (const box of [".backward", ".formula", ".letters"]) find(box).remove();
      find(".derivation").textContent = "The backward pass starts here. Every cotangent says how much the loss changes, " +
        "and the loss changes exactly as much as itself, so dloss is 1. Go on to logprobs, its input.";
      return;
    }
    this.cotangent = bigMap("Cotangent", `d${name}`, network.cotangents[`d${name}`], shape,
      (picked) => {
        this.showNumber(picked);
        panel.querySelector(".number").scrollIntoView({ block: "nearest" });
      });
    find(".maps").append(this.cotangent.box);
    find(".maps").insertAdjacentHTML("beforeend",
      `<p class="quiet">Click an element of the cotangent, or press Enter on it, to see the sum that makes it.</p>`);
    find(".exercise").append(exercise(name, network, data, (hide) => { find(".answer").hidden = hide; }));
    this.showNumber(place ?? largestPlace(network.cotangents[`d${name}`]));
    this.cotangent.show(this.place);
  }

  /** Links to what the place is made of and to what uses it, which its cotangent comes from. */
  around() {
    const { reads, users } = this.data.places[this.name];
    const links = (names) => names.flatMap((name, i) => {
      const link = document.createElement("button");
      Object.assign(link, { type: "button", className: "link", textContent: name });
      link.addEventListener("click", () => this.follow(name));
      return i ? [", ", link] : [link];
    });
    this.panel.querySelector(".around").replaceChildren(
      ...(reads.length ? ["Made of ", ...links(reads), ". "] : ["A parameter. "]),
      ...(users.length ? ["Used by ", ...links(users), users.length > 1
        ? ": its cotangent is collected from theirs." : ": its cotangent comes from there."] : []));
  }

  /** Say so where a mistake runs in the place of the line shown. */
  planted() {
    const mistake = this.network.broken && this.data.mistakes.find(({ name }) => name === this.network.options.mistake);
    const note = this.panel.querySelector(".planted");
    note.hidden = mistake?.place !== this.name;
    if (note.hidden) return;
    const line = document.createElement("code");
    line.textContent = mistake.wrong;
    note.replaceChildren("A mistake is planted: in place of the line below, the page runs ", line, ".");
  }

  valueOf(name) {
    return this.network.params[name] ?? this.network.values[name];
  }

  /** New numbers in the open place; read aloud only where nothing is playing. */
  update(playing) {
    if (!this.name) return;
    this.panel.querySelector(".number").setAttribute("aria-live", playing ? "off" : "polite");
    this.value.update(this.valueOf(this.name), playing);
    if (!this.cotangent) return;
    this.cotangent.update(this.network.cotangents[`d${this.name}`], playing);
    this.showNumber(this.place);
  }

  showNumber(place) {
    this.place = place;
    const { network, name } = this;
    const target = this.panel.querySelector(".number");
    const program = network.broken ?? network.backward;
    const terms = Terms.of(program).of(`d${name}`, place);
    const total = network.cotangents[`d${name}`][place];
    const title = element(`d${name}`, network.shape(name), place);
    const top = Math.abs(terms[0]?.value ?? 1);
    const rows = terms.slice(0, MOST_TERMS).map(({ name: from, place: at, slope, factors, value }) => {
      const text = from ? element(from, program.slot(from).shape, at) : "constant";
      const what = from ? `<button type="button" class="link" data-name="${from.slice(1)}" data-place="${at}">${text}</button>` : text;
      const by = factors.length ? factors.join(" · ") : short(slope);
      const width = Math.round((60 * Math.abs(value)) / top);
      return `<tr><td>${what}</td><td>${from ? short(program.slot(from).data[at]) : ""}</td><td>${by}</td>
        <td class="n">${short(value)}</td><td><i class="bar${value < 0 ? " minus" : ""}"
        style="width:${width}px"></i></td></tr>`;
    });
    const rest = terms.slice(MOST_TERMS).reduce((sum, { value }) => sum + value, 0);
    if (terms.length > MOST_TERMS) {
      rows.push(`<tr><td colspan="3">… ${terms.length - MOST_TERMS} smaller terms</td>
        <td class="n">${short(rest)}</td><td></td></tr>`);
    }
    const sum = terms.reduce((s, { value }) => s + value, 0);
    const size = terms.reduce((s, { value }) => s + Math.abs(value), 0);
    const cancels = terms.length > 1 && Math.abs(sum) < 1e-12 * size;
    target.innerHTML = `<h3>One number: ${title}</h3>
      <p>${terms.length === 0 ? "No term reaches it: it is 0." : `The sum of ${count(terms.length)}${terms.length > 1 ? ", largest first" : ""}. A term is a cotangent times a slope; a link opens where that cotangent comes from.`}
      ${cancels ? " They cancel: what is left is rounding." : ""}</p>
      <table class="terms"><thead><tr><th>Cotangent</th><th>Its value</th><th>Slope</th><th class="n">Term</th><th><span class="quiet">size</span></th></tr></thead>
      <tbody>${rows.join("")}<tr><th colspan="3">Sum of the terms</th><td class="n"><b>${short(sum)}</b></td><td></td></tr>
      <tr><th colspan="3">The number in the heat map</th><td class="n"><b>${short(total)}</b></td><td></td></tr></tbody></table>
      ${this.check(place, total, size)}`;
    for (const link of target.querySelectorAll(".link")) {
      link.addEventListener("click", () => this.follow(link.dataset.name, Number(link.dataset.place)));
    }
    target.dataset.sum = sum;
    target.dataset.total = total;
  }

  /** A second way that shares no code with the rules: move the element, look at the loss. */
  check(place, total, size) {
    const { name, network } = this;
    const difference = network.byDifferences(name, place);
    const scale = Math.max(Math.abs(difference), size, 1e-3 * largestOf(network.right[`d${name}`]));
    const agrees = Math.abs(difference - total) <= 1e-4 * scale + 1e-9;
    return `<p class="check">Check by central differences (change this element of ${name} a little, watch the loss):
      <span class="mono">${short(difference)}</span>, <span class="${agrees ? "right" : "wrong"}">
      ${agrees ? "✓ agrees" : "✗ differs"}</span> (by ${short(Math.abs(difference - total))})${agrees || !network.broken ? "" : ": the planted mistake reaches this number"}.</p>`;
  }
}

const count = (n) => (n === 1 ? "one term" : `${n} terms`);
const largestOf = (data) => data.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
const largestPlace = (data) => data.reduce((best, x, i) => (Math.abs(x) > Math.abs(data[best]) ? i : best), 0);

function code(pre, text) {
  pre.replaceChildren(...text.split("\n").flatMap((line) => {
    const at = line.indexOf("#");
    if (at < 0) return [`${line}\n`];
    const comment = document.createElement("span");
    comment.className = "comment";
    comment.textContent = line.slice(at);
    return [line.slice(0, at), comment, "\n"];
  }));
}
