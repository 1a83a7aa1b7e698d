// Judges a backward line as `jaxmore check` does: right up to 1e-6 of the largest element, and with
// generic numbers above the lines that would come out as zero whatever one writes.
import { array, number } from "#page/arrays.js";
import { answer } from "#page/bank.js";
import { evaluate } from "#page/expression.js";
import { normals, uniforms } from "#page/random.js";
import { element, short } from "#page/terms.js";

export const RIGHT = 1e-6;
/** Exercises 2 and 3: the same cotangent in one line, from these names alone. */
export const CLOSED_FORMS = {
  logits: ["logits", "Y"],
  hprebn: ["dhpreact", "bngain", "bnraw", "bnvar_inv"],
};
const BY_OTHER_NUMBERS = ["logit_maxes", "logits", "b1"];

/** { right: boolean, text } for an expression in the place of the backward line of `name`. */
export function judge(name, text, network, data, closed = false) {
  const generic = BY_OTHER_NUMBERS.includes(name) && !closed;
  const uniform = uniforms(7, 0);
  const changes = {};
  if (generic) {
    for (const other of data.cotangents) {
      if (other !== name) changes[`d${other}`] = (d) => d.set(normals(uniform, d.length));
    }
  }
  const cotangents = network.backward.run(network.inputs, changes).values();
  const names = { n: number(network.options.batch) };
  const put = (key, shape, values) => { names[key] = array(shape, values); };
  for (const key of [...data.parameters, ...data.values]) put(key, network.shape(key), network.inputs[key]);
  for (const key of ["X", "Y"]) put(key, network.forward.slot(key).shape, network.inputs[key]);
  const above = data.cotangents.slice(0, data.cotangents.indexOf(name));
  for (const key of above) put(`d${key}`, network.shape(key), cotangents[`d${key}`]);
  if (generic) network.evaluate(); // the program's own numbers again
  const allowed = closed ? ["n", ...CLOSED_FORMS[name]] : Object.keys(names);
  const given = Object.fromEntries(allowed.map((key) => [key, names[key]]));
  try {
    const ours = evaluate(text, given);
    const right = array(network.shape(name), cotangents[`d${name}`]);
    const bank = data.bank[closed ? `${name}_fast` : name];
    return compare(ours, right, `d${name}`, generic, () => answer(bank, ours, right, given));
  } catch (error) {
    return { right: false, text: error.message };
  }
}

/** `known()` gives the bank's sentence, or nothing. */
function compare(ours, right, name, generic, known) {
  const shapes = [ours, right].map(({ shape }) => `(${shape.join(", ")})`);
  if (shapes[0] !== shapes[1]) return { right: false, text: `shape ${shapes[0]}, not ${shapes[1]}. ${known()}`.trimEnd() };
  const top = right.data.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  const off = Array.from(right.data, (x, i) => Math.abs(ours.data[i] - x));
  const wrong = off.filter((d) => !(d <= RIGHT * top)).length;
  if (!wrong) return { right: true, text: generic ? "Right, with other numbers above it, too." : "Right." };
  const worst = off.reduce((best, d, i) => (!(d <= off[best]) ? i : best), 0);
  const cause = known() || causeOf(ours.data, right.data);
  return {
    right: false,
    text: `${wrong} of ${off.length} elements are off. ${element(name, right.shape, worst)} is ` +
      `${short(ours.data[worst])}${generic ? " (with other numbers above it)" : ""}, not ${short(right.data[worst])}. ${cause}`,
  };
}

/** What the pattern of the error shows, as in the command line's diagnosis: one factor everywhere. */
function causeOf(ours, right) {
  const lost = ours.reduce((count, x) => count + !Number.isFinite(x), 0);
  if (lost) {
    return `${lost} of ${ours.length} elements are infinite or no number, as after a division by zero or log(0).`;
  }
  if (ours.every((x) => x === 0)) return "It is zero everywhere.";
  const [dot, square] = right.reduce(([d, s], x, i) => [d + x * ours[i], s + x * x], [0, 0]);
  const factor = dot / square;
  const top = right.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  if (!right.every((x, i) => Math.abs(ours[i] - factor * x) <= RIGHT * top * Math.abs(factor))) return "";
  if (Math.abs(factor + 1) < 1e-6) return "The sign is wrong everywhere.";
  return `Every element is ${short(factor)} times what it should be.`;
}
