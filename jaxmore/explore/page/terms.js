// One number of a cotangent as the sum that it is. The backward pass is linear in the cotangents
// above a line: following its equations back from one element gives slope · cotangent, term by term.
import { broadcastMap, sourceMap } from "#page/indices.js";
import { contracted, reduced, scattered } from "#page/primitives.js";

export class Terms {
  static cache = new WeakMap();

  /** The terms of a program: they read its numbers of now. */
  static of(program) {
    if (!Terms.cache.has(program)) Terms.cache.set(program, new Terms(program));
    return Terms.cache.get(program);
  }

  constructor(program) {
    this.names = new Map(
      [...Object.entries(program.inputs), ...Object.entries(program.outputs)]
        .map(([name, slot]) => [program.slots[slot], name]));
    this.cotangents = new Set(Object.values(program.outputs).map((slot) => program.slots[slot]));
    this.program = program;
    this.maker = new Map();
    this.linear = new Set(this.cotangents);
    this.maps = new Map();
    for (const equation of program.equations) {
      for (const slot of equation.writes) {
        this.maker.set(slot, equation);
        if (equation.reads.some((read) => this.linear.has(read))) this.linear.add(slot);
      }
    }
  }

  /**
   * The terms of one element of an output, largest first: { name, place, slope, factors, value },
   * with value = slope · (element `place` of the cotangent `name`). Without a name, a constant.
   */
  of(name, place) {
    this.found = [];
    this.root = this.program.slot(name);
    this.follow(this.root, place, 1, []);
    return this.found.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  }

  follow(slot, place, slope, factors) {
    if (this.cotangents.has(slot) && slot !== this.root) {
      const value = slope * slot.data[place];
      this.found.push({ name: this.names.get(slot), place, slope, factors, value });
      return;
    }
    if (!this.maker.has(slot) || !this.linear.has(slot) || this.isConstant(slot)) {
      const value = slope * slot.data[place];
      if (value !== 0) this.found.push({ name: null, place, slope, factors, value });
      return;
    }
    const equation = this.maker.get(slot);
    const { op, reads: [a, b, c] } = equation;
    const on = (read, by = slope, more = []) =>
      this.follow(read, this.read(read, slot, place), by, [...factors, ...more]);
    switch (op) {
      case "add": case "add_any": on(a); on(b); return;
      case "sub": on(a); on(b, -slope); return;
      case "neg": on(a, -slope); return;
      case "mul": case "div": {
        const [line, other] = this.linear.has(a) ? [a, b] : [b, a];
        const there = this.read(other, slot, place);
        const x = other.data[there];
        const text = this.describe(other, there);
        on(line, op === "mul" ? slope * x : slope / x, [op === "mul" ? text : `1/${text}`]);
        return;
      }
      case "select_n": {
        const chosen = a.data[this.read(a, slot, place)] ? c : b;
        const other = chosen === b ? c : b;
        const same = chosen.data[place] === other.data[place];
        on(!this.linear.has(chosen) && this.linear.has(other) && same ? other : chosen);
        return;
      }
      case "reduce_sum": {
        const [bases, offsets] = this.map(equation, () => reduced(equation));
        for (const offset of offsets) this.follow(a, bases[place] + offset, slope, factors);
        return;
      }
      case "dot_general": {
        const { basesA, basesB, offsetsA, offsetsB } = this.map(equation, () => contracted(equation));
        for (let k = 0; k < offsetsA.length; k++) {
          const [i, j] = [basesA[place] + offsetsA[k], basesB[place] + offsetsB[k]];
          if (this.linear.has(a)) this.follow(a, i, slope * b.data[j], [...factors, this.describe(b, j)]);
          else this.follow(b, j, slope * a.data[i], [...factors, this.describe(a, i)]);
        }
        return;
      }
      case "scatter": case "scatter-add": {
        const target = this.map(equation, () => scattered(equation));
        const sources = [];
        for (let i = 0; i < c.data.length; i++) if (target(i) === place) sources.push(i);
        const used = op === "scatter" ? sources.slice(-1) : sources;
        for (const i of used) this.follow(c, i, slope, factors);
        if (op === "scatter-add" || used.length === 0) this.follow(a, place, slope, factors);
        return;
      }
      default: {
        const source = this.source(equation, place);
        if (source >= 0) this.follow(a, source, slope, factors);
      }
    }
  }

  /** Whether nothing but constants and ids made it: the −1/n that the backward pass starts with. */
  isConstant(slot) {
    const equation = this.maker.get(slot);
    return slot === this.root && !equation.reads.some((read) => this.linear.has(read));
  }

  map(key, make) {
    if (!this.maps.has(key)) this.maps.set(key, make());
    return this.maps.get(key);
  }

  /** The place that an elementwise equation reads of an operand. */
  read(operand, slot, place) {
    if (operand.data.length === slot.data.length) return place;
    const key = `${operand.shape}→${slot.shape}`;
    return this.map(key, () => broadcastMap(operand.shape, slot.shape))[place];
  }

  source(equation, place) {
    const { op, params, reads: [x], writes: [y] } = equation;
    return this.map(equation, () => sourceMap(op, params, x.shape, y.shape))[place];
  }

  /** What an element is called: its name and index, a number, or a short expression. */
  describe(slot, place) {
    if (this.names.has(slot)) return element(this.names.get(slot), slot.shape, place);
    const equation = this.maker.get(slot);
    if (!equation) return short(slot.data[place]);
    const { op, params, reads: [a, b] } = equation;
    const of = (read) => this.describe(read, this.read(read, slot, place));
    switch (op) {
      case "add": return `(${of(a)} + ${of(b)})`;
      case "sub": return `(${of(a)} − ${of(b)})`;
      case "mul": return `${of(a)} · ${of(b)}`;
      case "neg": return `−${of(a)}`;
      case "integer_pow": return `${of(a)}${superscript(params.y)}`;
      case "pow": return `${of(a)}^${of(b)}`;
      case "transpose": case "broadcast_in_dim": case "reshape": case "slice":
      case "optimization_barrier": {
        const source = this.source(equation, place);
        return source < 0 ? "0" : this.describe(a, source);
      }
      default: return short(slot.data[place]);
    }
  }
}

const superscript = (n) => String(n).replace(/[-\d]/g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);

export function indexOf(shape, place) {
  const index = [];
  for (let d = shape.length - 1, rest = place; d >= 0; d--) {
    index.unshift(rest % shape[d]);
    rest = Math.floor(rest / shape[d]);
  }
  return index;
}

export const element = (name, shape, place) =>
  shape.length ? `${name}[${indexOf(shape, place).join(", ")}]` : name;

/** A number in few digits. */
export function short(x) {
  if (x === 0 || !Number.isFinite(x)) return String(x).replace("-", "−");
  const size = Math.abs(x);
  const text = size >= 1e5 || size < 1e-3 ? x.toExponential(2) : x.toPrecision(4);
  return text.replaceAll("-", "−");
}
