// The network in the page: its parameters, its batches, its steps, and its past.
import { sizeOf } from "#page/indices.js";
import { Program, withLine } from "#page/interpreter.js";
import { choose, normals, uniforms } from "#page/random.js";

const MOST_SNAPSHOTS = 120;
const INIT = -1; // the step whose stream makes the parameters
const CALIBRATION = -100; // the streams of the batches whose statistics sampling uses

export class Network {
  constructor(data, options) {
    this.data = data;
    this.options = { ...options };
    this.windows = windowsOf(data.words, data.characters, data.sizes.T);
    this.reset();
  }

  reset() {
    const { hidden, batch, mistake } = this.options;
    const programs = this.data.programs[`${hidden},${batch}`];
    this.forward = new Program(programs.forward);
    this.backward = new Program(programs.backward);
    this.sgd = new Program(programs.sgd);
    this.infer = new Program(programs.infer);
    const place = this.data.mistakes.find(({ name }) => name === mistake)?.place;
    this.broken = place
      ? new Program(withLine(programs.backward, programs.mistakes[mistake], `d${place}`)) : null;
    this.params = this.data.trained ? fromLists(this.data.trained.params) : this.fresh();
    this.step = 0;
    this.losses = [];
    this.ratios = [];
    this.snapshots = [];
    this.every = 1;
    this.keep();
    this.evaluate();
  }

  /** Other options; parameters and history stay where the sizes allow. */
  change(options) {
    const sizes = ["hidden", "seed"].some((key) => key in options && options[key] !== this.options[key]);
    Object.assign(this.options, options);
    if (sizes) return this.reset();
    const { params, step, losses, ratios, snapshots, every } = this;
    this.reset();
    Object.assign(this, { params, step, losses, ratios, snapshots, every });
    this.evaluate();
  }

  shape(name) {
    return (this.forward.slot(name) ?? this.backward.slot(name)).shape;
  }

  /** The notebooks' scales: Kaiming's gain for tanh, and 0.1 where zeros would hide mistakes. */
  fresh() {
    const uniform = uniforms(this.options.seed, INIT);
    const fanIn = this.shape("W1")[0];
    const scale = { C: 1, W1: 5 / 3 / Math.sqrt(fanIn) };
    return Object.fromEntries(this.data.parameters.map((name) => {
      const draws = normals(uniform, sizeOf(this.shape(name)));
      const mean = name === "bngain" ? 1 : 0;
      return [name, draws.map((x) => mean + (scale[name] ?? 0.1) * x)];
    }));
  }

  /** The batch of a step: (seed, step) alone decide it. */
  batchAt(step) {
    const uniform = uniforms(this.options.seed, this.options.overfit ? 0 : step);
    const { contexts, targets } = this.windows;
    const { batch } = this.options;
    const T = this.data.sizes.T;
    const [X, Y] = [new Int32Array(batch * T), new Int32Array(batch)];
    for (let i = 0; i < batch; i++) {
      const pick = Math.floor(uniform() * targets.length);
      X.set(contexts.subarray(pick * T, pick * T + T), i * T);
      Y[i] = targets[pick];
    }
    return { X, Y };
  }

  /** Run the batch of this step forward and backward; training uses `cotangents`. */
  evaluate() {
    const inputs = { ...this.params, ...this.batchAt(this.step) };
    this.values = this.forward.run(inputs).values();
    this.inputs = { ...inputs, ...this.values };
    this.right = this.backward.run(this.inputs).values();
    this.cotangents = this.broken ? this.broken.run(this.inputs).values() : this.right;
  }

  /** One step of gradient descent from the values and cotangents of now. */
  train() {
    this.losses.length = this.step;
    this.losses.push(this.values.loss[0]);
    const next = this.sgd.run({
      ...this.params, ...this.cotangents, learning_rate: [this.options.rate],
    }).values();
    const ratio = Object.fromEntries(this.data.parameters.map((name) =>
      [name, Math.log10(deviation(next[name], this.params[name]) / deviation(this.params[name]))]));
    this.ratios = this.ratios.filter(([step]) => step < this.step);
    this.ratios.push([this.step, ratio]);
    if (this.ratios.length > 600) this.ratios = this.ratios.filter((_, i) => i % 2 === 0);
    this.params = next;
    this.step += 1;
    this.keep();
    this.evaluate();
  }

  keep() {
    this.snapshots = this.snapshots.filter(({ step }) => step < this.step);
    if (this.step % this.every) return;
    this.snapshots.push({ step: this.step, params: this.params });
    if (this.snapshots.length > MOST_SNAPSHOTS) {
      this.every *= 2;
      this.snapshots = this.snapshots.filter(({ step }) => step % this.every === 0);
    }
  }

  /** Go back to a kept snapshot; the later ones stay until training goes on from here. */
  goTo({ step, params }) {
    this.step = step;
    this.params = params;
    this.evaluate();
  }

  /** The loss with one element of a value or a parameter moved by `delta`. */
  lossWith(name, place, delta) {
    const move = (array) => { array[place] += delta; };
    if (name in this.params) {
      const moved = this.params[name].slice();
      move(moved);
      return this.forward.run({ ...this.inputs, [name]: moved }).slot("loss").data[0];
    }
    return this.forward.run(this.inputs, { [name]: move }).slot("loss").data[0];
  }

  /** d(loss) of one element by central differences: no line of the backward pass has a part. */
  byDifferences(name, place) {
    const value = (name in this.params ? this.params : this.values)[name][place];
    const delta = 1e-5 * Math.max(1, Math.abs(value));
    const relative = name === "probs" || name === "counts_sum_inv" ? 1e-5 * Math.abs(value) : delta;
    return (this.lossWith(name, place, relative) - this.lossWith(name, place, -relative)) / (2 * relative);
  }

  /** n new words, with statistics of sixteen batches in the place of a batch's own. */
  sample(n) {
    const { T, V } = this.data.sizes;
    const width = this.options.batch;
    const sums = { bnmeani: 0, bnvar_inv: 0 };
    for (const name in sums) sums[name] = new Float64Array(sizeOf(this.shape(name)));
    for (let i = 0; i < 16; i++) {
      const values = this.forward.run({ ...this.params, ...this.batchAt(CALIBRATION - i) });
      for (const name in sums) values.slot(name).data.forEach((x, j) => { sums[name][j] += x / 16; });
    }
    const uniform = uniforms(this.options.seed ^ 0x5a17, this.step);
    const words = Array.from({ length: Math.min(n, width) }, () => ({ ids: [], done: false }));
    for (let round = 0; round < 20 && words.some((word) => !word.done); round++) {
      const X = new Int32Array(width * T);
      words.forEach(({ ids }, i) => {
        X.set([...new Array(T).fill(0), ...ids].slice(-T), i * T);
      });
      const logits = this.infer.run({ ...this.params, X, ...sums }).slot("logits").data;
      words.forEach((word, i) => {
        if (word.done) return;
        const row = logits.subarray(i * V, i * V + V);
        const top = row.reduce((a, b) => Math.max(a, b));
        const id = choose(uniform, Array.from(row, (x) => Math.exp(x - top)));
        if (id === 0) word.done = true;
        else word.ids.push(id);
      });
    }
    return words.map(({ ids }) => ids.map((id) => this.data.characters[id]).join(""));
  }
}

const fromLists = (params) =>
  Object.fromEntries(Object.entries(params).map(([name, list]) => [name, Float64Array.from(list)]));

/** The standard deviation of an array, or of its difference from another. */
function deviation(array, other) {
  const at = (i) => (other ? array[i] - other[i] : array[i]);
  let [sum, squares] = [0, 0];
  for (let i = 0; i < array.length; i++) sum += at(i);
  const mean = sum / array.length;
  for (let i = 0; i < array.length; i++) squares += (at(i) - mean) ** 2;
  return Math.sqrt(squares / array.length);
}

/** The contexts of T ids and the id that follows each, of all words. */
export function windowsOf(words, characters, T) {
  const ids = new Map([...characters].map((c, i) => [c, i]));
  const [contexts, targets] = [[], []];
  for (const word of words) {
    let context = new Array(T).fill(0);
    for (const id of [...[...word].map((c) => ids.get(c)), 0]) {
      contexts.push(...context);
      targets.push(id);
      context = [...context.slice(1), id];
    }
  }
  return { contexts: Int32Array.from(contexts), targets: Int32Array.from(targets) };
}
