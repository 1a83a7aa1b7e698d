// Each primitive as one closure over typed arrays. A builder gets the equation and its operands
// ({ shape, data }), makes the index maps, and returns the function that computes the output.
import { broadcastMap, forEachIndex, pick, sourceMap, splitAxes, stridesOf, walk }
  from "#page/indices.js";

const UNARY = {
  neg: (x) => -x, exp: Math.exp, log: Math.log, tanh: Math.tanh, sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x), abs: Math.abs, sign: Math.sign, floor: Math.floor,
  log1p: Math.log1p, expm1: Math.expm1, logistic: (x) => 1 / (1 + Math.exp(-x)),
  square: (x) => x * x, not: (x) => (x ? 0 : 1), is_finite: (x) => (Number.isFinite(x) ? 1 : 0),
};

const add = (x, y) => x + y;
const BINARY = {
  add, add_any: add, sub: (x, y) => x - y, mul: (x, y) => x * y, div: (x, y) => x / y,
  pow: Math.pow, max: Math.max, min: Math.min,
  eq: (x, y) => (x === y ? 1 : 0), ne: (x, y) => (x !== y ? 1 : 0), lt: (x, y) => (x < y ? 1 : 0),
  le: (x, y) => (x <= y ? 1 : 0), gt: (x, y) => (x > y ? 1 : 0), ge: (x, y) => (x >= y ? 1 : 0),
  and: (x, y) => x & y, or: (x, y) => x | y,
};

const MOVES = ["stop_gradient", "reshape", "squeeze", "transpose", "slice", "rev", "pad",
  "broadcast_in_dim", "copy", "convert_element_type"];

function unary(apply) {
  return ({ reads: [x], writes: [y] }) => () => {
    for (let i = 0; i < y.data.length; i++) y.data[i] = apply(x.data[i]);
  };
}

function binary(apply, isDivision) {
  return ({ reads: [a, b], writes: [y] }) => {
    const left = broadcastMap(a.shape, y.shape);
    const right = broadcastMap(b.shape, y.shape);
    const whole = isDivision && y.dtype === "int32"; // integers divide towards zero
    return () => {
      for (let i = 0; i < y.data.length; i++) {
        const value = apply(a.data[left ? left[i] : i], b.data[right ? right[i] : i]);
        y.data[i] = whole ? Math.trunc(value) : value;
      }
    };
  };
}

function power(base, exponent) {
  // By squaring, as XLA multiplies it out.
  let result = 1;
  for (let n = Math.abs(exponent), square = base; n > 0; n >>= 1, square *= square) {
    if (n & 1) result *= square;
  }
  return exponent < 0 ? 1 / result : result;
}

const move = (op) => ({ params, reads: [x, fill], writes: [y] }) => {
  const map = sourceMap(op, params, x.shape, y.shape);
  const toBoolean = op === "convert_element_type" && y.dtype === "bool";
  return () => {
    for (let i = 0; i < y.data.length; i++) {
      const value = map[i] < 0 ? fill.data[0] : x.data[map[i]];
      y.data[i] = toBoolean ? (value !== 0 ? 1 : 0) : value;
    }
  };
};

function select({ reads: [which, no, yes], writes: [y] }) {
  const map = broadcastMap(which.shape, y.shape);
  return () => {
    for (let i = 0; i < y.data.length; i++) {
      y.data[i] = (which.data[map ? map[i] : i] ? yes : no).data[i];
    }
  };
}

function concatenate({ params: { dimension }, reads, writes: [y] }) {
  const strides = stridesOf(y.shape);
  let start = 0;
  const parts = reads.map((x) => {
    const map = walk(x.shape, strides, start * strides[dimension]);
    start += x.shape[dimension];
    return [x, map];
  });
  return () => {
    for (const [x, map] of parts) for (let i = 0; i < map.length; i++) y.data[map[i]] = x.data[i];
  };
}

function iota({ params: { dimension }, writes: [y] }) {
  const map = walk(y.shape, y.shape.map((_, d) => (d === dimension ? 1 : 0)));
  return () => y.data.set(map);
}

/** The places of the elements that one output element is reduced from: a base, and offsets. */
export function reduced({ params: { axes }, reads: [x] }) {
  const [gone, kept] = splitAxes(x.shape.length, axes);
  const strides = stridesOf(x.shape);
  return [walk(pick(x.shape, kept), pick(strides, kept)),
    walk(pick(x.shape, gone), pick(strides, gone))];
}

const reduce = (start, combine) => (equation) => {
  const { reads: [x], writes: [y] } = equation;
  const [bases, offsets] = reduced(equation);
  return () => {
    for (let i = 0; i < bases.length; i++) {
      let result = start;
      for (let k = 0; k < offsets.length; k++) result = combine(result, x.data[bases[i] + offsets[k]]);
      y.data[i] = result;
    }
  };
};

/** A program of two numbers as a function. */
function scalarFunction({ slots, inputs, outputs, constants, equations }, make) {
  const all = slots.map(([shape, dtype]) => ({ shape, dtype, data: make(dtype) }));
  for (const [slot, [value]] of constants) all[slot].data[0] = value;
  const steps = equations.map(({ op, params, reads, writes }) =>
    PRIMITIVES[op]({ params, reads: pick(all, reads), writes: pick(all, writes) }));
  const [total, x, result] = pick(all, [inputs.total, inputs.x, outputs.total]);
  return (a, b) => {
    total.data[0] = a;
    x.data[0] = b;
    for (const step of steps) step();
    return result.data[0];
  };
}

/** A reduction by a function, from a start that is an operand. */
function reduceBy({ params: { dimensions, body }, reads: [x, start], writes: [y] }) {
  const [bases, offsets] = reduced({ params: { axes: dimensions }, reads: [x] });
  const number = (dtype) => (dtype === y.dtype ? new y.data.constructor(1) : new Float64Array(1));
  const combine = scalarFunction(body, number);
  return () => {
    for (let i = 0; i < bases.length; i++) {
      let result = start.data[0];
      for (let k = 0; k < offsets.length; k++) result = combine(result, x.data[bases[i] + offsets[k]]);
      y.data[i] = result;
    }
  };
}

function cumsum({ params: { axis, reverse }, reads: [x], writes: [y] }) {
  const [bases, offsets] = reduced({ params: { axes: [axis] }, reads: [x] });
  if (reverse) offsets.reverse();
  return () => {
    for (const base of bases) {
      let sum = 0;
      for (const offset of offsets) y.data[base + offset] = sum += x.data[base + offset];
    }
  };
}

function split({ params: { axis }, reads: [x], writes }) {
  const strides = stridesOf(x.shape);
  let start = 0;
  const maps = writes.map(({ shape }) => {
    const map = walk(shape, strides, start * strides[axis]);
    start += shape[axis];
    return map;
  });
  return () => writes.forEach((y, k) => {
    for (let i = 0; i < maps[k].length; i++) y.data[i] = x.data[maps[k][i]];
  });
}

const argReduce = (isBetter) => (equation) => {
  const { reads: [x], writes: [y] } = equation;
  const [bases, offsets] = reduced(equation);
  return () => {
    for (let i = 0; i < bases.length; i++) {
      let best = 0;
      for (let k = 1; k < offsets.length; k++) {
        if (isBetter(x.data[bases[i] + offsets[k]], x.data[bases[i] + offsets[best]])) best = k;
      }
      y.data[i] = best;
    }
  };
};

/** Where a product reads: for each output element a base in either operand, and shared offsets. */
export function contracted({ params: { dimension_numbers }, reads: [a, b] }) {
  const [[overA, overB], [batchA, batchB]] = dimension_numbers;
  const [, freeA] = splitAxes(a.shape.length, [...overA, ...batchA]);
  const [, freeB] = splitAxes(b.shape.length, [...overB, ...batchB]);
  const [sa, sb] = [stridesOf(a.shape), stridesOf(b.shape)];
  const shape = [...pick(a.shape, batchA), ...pick(a.shape, freeA), ...pick(b.shape, freeB)];
  const zeros = (axes) => axes.map(() => 0);
  return {
    basesA: walk(shape, [...pick(sa, batchA), ...pick(sa, freeA), ...zeros(freeB)]),
    basesB: walk(shape, [...pick(sb, batchB), ...zeros(freeA), ...pick(sb, freeB)]),
    offsetsA: walk(pick(a.shape, overA), pick(sa, overA)),
    offsetsB: walk(pick(b.shape, overB), pick(sb, overB)),
  };
}

function dotGeneral(equation) {
  const { reads: [a, b], writes: [y] } = equation;
  const { basesA, basesB, offsetsA, offsetsB } = contracted(equation);
  return () => {
    const [left, right, out] = [a.data, b.data, y.data];
    for (let i = 0; i < out.length; i++) {
      const [p, q] = [basesA[i], basesB[i]];
      let sum = 0;
      for (let k = 0; k < offsetsA.length; k++) sum += left[p + offsetsA[k]] * right[q + offsetsB[k]];
      out[i] = sum;
    }
  };
}

/**
 * What gather and scatter share: for each element of the slices, its place in the operand, or −1
 * where its slice lies outside. Returns a function, since the indices are known only at run time.
 */
export function indexed(operand, indices, slices, windowDims, names, sizes, clip) {
  const { collapsed, operandBatch, indicesBatch, dimsOfIndex } = names;
  const strides = stridesOf(operand.shape);
  const [, batchDims] = splitAxes(slices.shape.length, windowDims);
  const [, inWindow] = splitAxes(operand.shape.length, [...collapsed, ...operandBatch]);
  const indexStrides = stridesOf(indices.shape);
  const lastStride = indexStrides.at(-1);
  const [starts, inner] = [new Int32Array(slices.data.length), new Int32Array(slices.data.length)];
  forEachIndex(slices.shape, (index, place) => {
    const batch = pick(index, batchDims);
    batch.forEach((position, d) => { starts[place] += position * indexStrides[d]; });
    windowDims.forEach((d, k) => { inner[place] += index[d] * strides[inWindow[k]]; });
    operandBatch.forEach((d, k) => { inner[place] += batch[indicesBatch[k]] * strides[d]; });
  });
  return (place) => {
    let source = inner[place];
    for (let k = 0; k < dimsOfIndex.length; k++) {
      const d = dimsOfIndex[k];
      const room = operand.shape[d] - sizes[d];
      let start = indices.data[starts[place] + k * lastStride];
      if (start < 0 || start > room) {
        if (!clip) return -1;
        start = Math.min(Math.max(start, 0), room);
      }
      source += start * strides[d];
    }
    return source;
  };
}

function gather({ params, reads: [x, indices], writes: [y] }) {
  const { dimension_numbers: dims, slice_sizes: sizes, mode } = params;
  const fills = mode === "FILL_OR_DROP";
  const fill = Number(params.fill_value ?? (y.dtype.startsWith("float") ? NaN : -(2 ** 31)));
  const names = {
    collapsed: dims.collapsed_slice_dims, operandBatch: dims.operand_batching_dims,
    indicesBatch: dims.start_indices_batching_dims, dimsOfIndex: dims.start_index_map,
  };
  const place = indexed(x, indices, y, dims.offset_dims, names, sizes, !fills);
  return () => {
    for (let i = 0; i < y.data.length; i++) {
      const source = place(i);
      y.data[i] = source < 0 ? fill : x.data[source];
    }
  };
}

/** The place in the output that each element of a scatter's updates goes to; −1 for none. */
export function scattered({ params, reads: [x, indices, updates] }) {
  const { dimension_numbers: dims, mode } = params;
  const names = {
    collapsed: dims.inserted_window_dims, operandBatch: dims.operand_batching_dims,
    indicesBatch: dims.scatter_indices_batching_dims,
    dimsOfIndex: dims.scatter_dims_to_operand_dims,
  };
  const [, inWindow] = splitAxes(x.shape.length, [...names.collapsed, ...names.operandBatch]);
  const sizes = x.shape.map(() => 1);
  inWindow.forEach((d, k) => { sizes[d] = updates.shape[dims.update_window_dims[k]]; });
  return indexed(x, indices, updates, dims.update_window_dims, names, sizes, mode === "CLIP");
}

const scatter = (combine) => (equation) => {
  const { reads: [x, , updates], writes: [y] } = equation;
  const place = scattered(equation);
  return () => {
    y.data.set(x.data);
    for (let i = 0; i < updates.data.length; i++) {
      const target = place(i);
      if (target >= 0) y.data[target] = combine(y.data[target], updates.data[i]);
    }
  };
};

export const PRIMITIVES = {
  ...Object.fromEntries(Object.entries(UNARY).map(([op, apply]) => [op, unary(apply)])),
  ...Object.fromEntries(
    Object.entries(BINARY).map(([op, apply]) => [op, binary(apply, op === "div")])),
  ...Object.fromEntries(MOVES.map((op) => [op, move(op)])),
  integer_pow: (equation) => unary((x) => power(x, equation.params.y))(equation),
  optimization_barrier: ({ reads, writes }) => () => {
    for (const [i, x] of reads.entries()) writes[i].data.set(x.data);
  },
  select_n: select,
  concatenate,
  iota,
  reduce: reduceBy,
  cumsum,
  split,
  reduce_sum: reduce(0, (x, y) => x + y),
  reduce_max: reduce(-Infinity, Math.max),
  reduce_min: reduce(Infinity, Math.min),
  argmax: argReduce((x, best) => x > best || (Number.isNaN(x) && !Number.isNaN(best))),
  argmin: argReduce((x, best) => x < best || (Number.isNaN(x) && !Number.isNaN(best))),
  dot_general: dotGeneral,
  gather,
  scatter: scatter((_, y) => y),
  "scatter-add": scatter((x, y) => x + y),
};
