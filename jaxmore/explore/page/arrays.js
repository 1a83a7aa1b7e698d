// The arrays of the expression language: { shape, data }, with NumPy's broadcasting.
import { broadcastMap, forEachIndex, pick, sizeOf, splitAxes, stridesOf, walk } from "#page/indices.js";

export const array = (shape, data) => ({ shape, data });
export const number = (x) => array([], Float64Array.of(x));
const text = ({ shape }) => `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;

function broadcastShapes(a, b) {
  const rank = Math.max(a.shape.length, b.shape.length);
  return Array.from({ length: rank }, (_, d) => {
    const [x, y] = [a, b].map(({ shape }) => shape[d - rank + shape.length] ?? 1);
    if (x !== y && x !== 1 && y !== 1) throw new Error(`shapes ${text(a)} and ${text(b)} do not go together`);
    return x === 1 ? y : x;
  });
}

const elementwise = (apply) => (a, b) => {
  if (!a.data || !b.data) throw new Error("an array or a number was expected");
  const shape = broadcastShapes(a, b);
  const [left, right] = [a, b].map((x) => broadcastMap(x.shape, shape));
  const data = Float64Array.from({ length: sizeOf(shape) },
    (_, i) => apply(a.data[left ? left[i] : i], b.data[right ? right[i] : i]));
  return array(shape, data);
};

function product(a, b) {
  if (a.shape.length !== 2 || b.shape.length !== 2) throw new Error("@ takes two matrices here");
  const [[n, k], [k2, m]] = [a.shape, b.shape];
  if (k !== k2) throw new Error(`${text(a)} @ ${text(b)}: the inner sizes differ`);
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++) {
    for (let l = 0; l < k; l++) {
      const x = a.data[i * k + l];
      for (let j = 0; j < m; j++) out[i * m + j] += x * b.data[l * m + j];
    }
  }
  return array([n, m], out);
}

export const OPERATORS = {
  "+": elementwise((x, y) => x + y),
  "-": elementwise((x, y) => x - y),
  "*": elementwise((x, y) => x * y),
  "/": elementwise((x, y) => x / y),
  "**": elementwise((x, y) => x ** y),
  "@": product,
};

function axesOf(x, args, options) {
  const axis = options.axis ?? args[0];
  if (!axis) return x.shape.map((_, d) => d);
  return (axis.items ?? [axis]).map(({ data: [d] }) => {
    const whole = d < 0 ? d + x.shape.length : d;
    if (!(whole in x.shape)) throw new Error(`${text(x)} has no axis ${d}`);
    return whole;
  });
}

const reduction = (start, combine, finish = (r) => r) => (x, args = [], options = {}) => {
  const axes = axesOf(x, args, options);
  const keep = (options.keepdims ?? options.keepdim ?? args[1])?.data[0];
  const [gone, kept] = splitAxes(x.shape.length, axes);
  const strides = stridesOf(x.shape);
  const bases = walk(pick(x.shape, kept), pick(strides, kept));
  const offsets = walk(pick(x.shape, gone), pick(strides, gone));
  const data = Float64Array.from(bases, (base) =>
    finish(offsets.reduce((r, offset, k) => combine(r, x.data[base + offset], k), start), offsets.length));
  const shape = keep ? x.shape.map((size, d) => (gone.includes(d) ? 1 : size)) : pick(x.shape, kept);
  return array(shape, data);
};

function argmax(x, args, options) {
  const axes = axesOf(x, args, options);
  let best;
  const larger = reduction(0, (place, value, k) => {
    if (k === 0) best = value;
    if (value > best) { best = value; return k; }
    return k === 0 ? 0 : place;
  });
  return larger(x, [number(axes[0])]);
}

function reshape(x, args) {
  const sizes = args.flatMap((a) => (a.items ? a.items : a.data ? [...a.data].map(number) : a.sizes.map(number)))
    .map(({ data: [s] }) => s);
  const known = sizes.filter((s) => s >= 0).reduce((a, b) => a * b, 1);
  const shape = sizes.map((s) => (s < 0 ? x.data.length / known : s));
  if (sizeOf(shape) !== x.data.length) throw new Error(`${text(x)} cannot take the shape (${sizes.join(", ")})`);
  return array(shape, x.data);
}

export const ATTRIBUTES = {
  T: (x) => array([...x.shape].reverse(),
    Float64Array.from(walk([...x.shape].reverse(), stridesOf(x.shape).reverse()), (i) => x.data[i])),
  shape: (x) => array([x.shape.length], Float64Array.from(x.shape)),
};

export const METHODS = {
  sum: reduction(0, (a, b) => a + b),
  mean: reduction(0, (a, b) => a + b, (sum, n) => sum / n),
  max: reduction(-Infinity, Math.max),
  argmax,
  argmin: (x, args, options) => argmax(OPERATORS["*"](number(-1), x), args, options),
  reshape,
  view: reshape,
};

const map = (apply) => ([x]) => array(x.shape, Float64Array.from(x.data, apply));
const filled = (value) => ([x]) => array(x.shape, new Float64Array(x.data.length).fill(value));

export const FUNCTIONS = {
  exp: map(Math.exp), log: map(Math.log), tanh: map(Math.tanh), sqrt: map(Math.sqrt),
  softmax: ([x]) => {
    const counts = FUNCTIONS.exp([OPERATORS["-"](x, METHODS.max(x, [number(-1)], { keepdims: number(1) }))]);
    return OPERATORS["/"](counts, METHODS.sum(counts, [number(-1)], { keepdims: number(1) }));
  },
  zeros_like: filled(0), ones_like: filled(1),
  arange: ([n]) => array([n.data[0]], Float64Array.from({ length: n.data[0] }, (_, i) => i)),
  one_hot: ([ids, n]) => {
    const size = n.data[0];
    const out = new Float64Array(ids.data.length * size);
    ids.data.forEach((id, i) => { if (id >= 0 && id < size) out[i * size + id] = 1; });
    return array([...ids.shape, size], out);
  },
  ...Object.fromEntries(["sum", "mean", "max", "argmax", "argmin", "reshape"].map((name) =>
    [name, ([x, ...args], options) => METHODS[name](x, args, options)])),
};

/** For index arrays a[i], a[i, j]: the base of each picked slice, the slice's offsets, the shape. */
function picked(x, places) {
  if (places.some((p) => !p.data)) throw new Error("an index is a number or an array of ids");
  if (places.length > x.shape.length) throw new Error(`${text(x)} takes at most ${x.shape.length} indices`);
  const shape = places.reduce((so, p) => array(broadcastShapes(so, p), []), number(0)).shape;
  const strides = stridesOf(x.shape);
  const bases = new Int32Array(sizeOf(shape));
  places.forEach((p, d) => {
    const read = broadcastMap(p.shape, shape);
    forEachIndex(shape, (_, i) => {
      const id = p.data[read ? read[i] : i];
      const whole = id < 0 ? id + x.shape[d] : id;
      if (!(whole >= 0 && whole < x.shape[d])) throw new Error(`index ${id} lies outside`);
      bases[i] += whole * strides[d];
    });
  });
  const rest = x.shape.slice(places.length);
  return [bases, walk(rest, strides.slice(places.length)), [...shape, ...rest]];
}

export function indexArray(x, places) {
  const [bases, offsets, shape] = picked(x, places);
  const data = Float64Array.from({ length: sizeOf(shape) }, (_, i) =>
    x.data[bases[Math.floor(i / offsets.length)] + offsets[i % offsets.length]]);
  return array(shape, data);
}

/** x.at[places].add(values) and .set(values). */
export function at(how, x, places, values) {
  const [bases, offsets, shape] = picked(x, places);
  const read = broadcastMap(values.shape, shape);
  if (broadcastShapes(values, array(shape, [])).length > shape.length) throw new Error("too many axes");
  const data = Float64Array.from(x.data);
  for (let i = 0; i < sizeOf(shape); i++) {
    const target = bases[Math.floor(i / offsets.length)] + offsets[i % offsets.length];
    const value = values.data[read ? read[i] : i];
    data[target] = how === "add" ? data[target] + value : value;
  }
  return array(x.shape, data);
}
