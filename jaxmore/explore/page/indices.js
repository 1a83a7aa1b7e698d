// Index maps: for each element of an output, the place of the element that it comes from.
// They depend on shapes alone, so each is made once, when a program is built.

export const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);

export function stridesOf(shape) {
  const strides = new Array(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

/** Every index of a shape in row-major order; the array handed to `visit` is reused. */
export function forEachIndex(shape, visit) {
  const index = new Array(shape.length).fill(0);
  const size = sizeOf(shape);
  for (let place = 0; place < size; place++) {
    visit(index, place);
    for (let d = shape.length - 1; d >= 0; d--) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
}

/** offset + Σ index · strides for every index of a shape. */
export function walk(shape, strides, offset = 0) {
  const map = new Int32Array(sizeOf(shape));
  forEachIndex(shape, (index, place) => {
    let source = offset;
    for (let d = 0; d < index.length; d++) source += index[d] * strides[d];
    map[place] = source;
  });
  return map;
}

/** How an operand is read where axes of size 1 stretch; null where it is read as it is. */
export function broadcastMap(shape, target) {
  if (sizeOf(shape) === sizeOf(target)) return null;
  const strides = stridesOf(shape);
  const lead = target.length - shape.length;
  return walk(
    target,
    target.map((_, d) => (d < lead || shape[d - lead] === 1 ? 0 : strides[d - lead])),
  );
}

/** Split an index by a set of axes: those in it, and the others. */
export function splitAxes(rank, axes) {
  const all = [...Array(rank).keys()];
  return [all.filter((d) => axes.includes(d)), all.filter((d) => !axes.includes(d))];
}

export const pick = (list, places) => places.map((d) => list[d]);

/** The source of each output element for the primitives that only move elements; −1 is the fill. */
export function sourceMap(op, params, from, to) {
  const strides = stridesOf(from);
  switch (op) {
    case "broadcast_in_dim": {
      const steps = to.map(() => 0);
      params.broadcast_dimensions.forEach((d, i) => {
        if (from[i] !== 1) steps[d] = strides[i];
      });
      return walk(to, steps);
    }
    case "transpose":
      return walk(to, pick(strides, params.permutation));
    case "slice": {
      const steps = params.strides ?? from.map(() => 1);
      const offset = params.start_indices.reduce((sum, start, d) => sum + start * strides[d], 0);
      return walk(to, strides.map((stride, d) => stride * steps[d]), offset);
    }
    case "rev": {
      const backwards = (d) => params.dimensions.includes(d);
      const offset = from.reduce(
        (sum, size, d) => sum + (backwards(d) ? (size - 1) * strides[d] : 0), 0);
      return walk(to, strides.map((stride, d) => (backwards(d) ? -stride : stride)), offset);
    }
    case "pad": {
      const map = new Int32Array(sizeOf(to));
      forEachIndex(to, (index, place) => {
        let source = 0;
        for (let d = 0; d < index.length && source >= 0; d++) {
          const [low, , inner] = params.padding_config[d];
          const position = (index[d] - low) / (inner + 1);
          const inside = Number.isInteger(position) && position >= 0 && position < from[d];
          source = inside ? source + position * strides[d] : -1;
        }
        map[place] = source;
      });
      return map;
    }
    default: // reshape, squeeze, copies: the same order
      return walk([sizeOf(to)], [1]);
  }
}
