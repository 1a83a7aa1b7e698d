// A trained model in its page: one word traced, and steps on batches of other words.
import { Program } from "#page/interpreter.js";
import { uniforms } from "#page/random.js";

const ARRAYS = { float64: Float64Array, float32: Float32Array };

export class ModelNetwork {
  constructor(data, rate) {
    this.data = data;
    this.rate = rate;
    this.word = new Program(data.shown.program);
    this.batch = new Program(data.training.program);
    this.sgd = new Program(data.training.sgd);
    this.reset();
  }

  reset() {
    this.params = Object.fromEntries(Object.entries(this.data.params).map(([path, { dtype, data }]) => {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      return [path, Float64Array.from(new ARRAYS[dtype](bytes.buffer))];
    }));
    this.step = 0;
    this.losses = [];
    this.evaluate();
  }

  shape(path) {
    return this.word.slot(path).shape;
  }

  /** Run the word forward and backward with the parameters of now. */
  evaluate() {
    const { x, y } = this.data.shown;
    this.inputs = { ...this.params, x, y };
    this.values = this.word.run(this.inputs).values();
    this.cotangents = this.values;
  }

  /** The batch of a step: the step alone decides it. */
  batchAt(step) {
    const { width, x, y } = this.data.training;
    const uniform = uniforms(1, step);
    const n = x.length / width[0];
    const batch = { x: [], y: [] };
    for (let i = 0; i < this.data.batch; i++) {
      const pick = Math.floor(uniform() * n);
      batch.x.push(...x.slice(pick * width[0], (pick + 1) * width[0]));
      batch.y.push(...y.slice(pick * width[1], (pick + 1) * width[1]));
    }
    return batch;
  }

  /** One step of gradient descent on a batch; `evaluate` then shows what it did to the word. */
  train() {
    const places = this.batch.run({ ...this.params, ...this.batchAt(this.step) });
    this.losses.push(places.slot("loss").data[0]);
    const cotangents = Object.fromEntries(this.data.parameters.map((path) => [`d${path}`, places.slot(`d${path}`).data]));
    this.params = this.sgd.run({ ...this.params, ...cotangents, learning_rate: [this.rate] }).values();
    this.step += 1;
  }

  /** d(loss) of one element by central differences: no line of the backward pass has a part. */
  byDifferences(path, place) {
    const isParam = path in this.params;
    const value = (isParam ? this.params : this.values)[path][place];
    const delta = 1e-5 * Math.max(1, Math.abs(value));
    const lossWith = (by) => {
      const move = (array) => { array[place] += by; };
      if (!isParam) return this.word.run(this.inputs, { [path]: move }).slot("loss").data[0];
      const moved = this.params[path].slice();
      move(moved);
      return this.word.run({ ...this.inputs, [path]: moved }).slot("loss").data[0];
    };
    return (lossWith(delta) - lossWith(-delta)) / (2 * delta);
  }
}
