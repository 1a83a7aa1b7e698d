// Runs what jaxmore/explore/export.py wrote: one closure for each equation, its arrays and index
// maps made once. Float32Array and Int32Array round what is written to them.
import { sizeOf } from "#page/indices.js";
import { PRIMITIVES } from "#page/primitives.js";

const ARRAYS = { float64: Float64Array, float32: Float32Array, int32: Int32Array, bool: Uint8Array };

export class Program {
  constructor({ slots, inputs, outputs, constants, equations }) {
    this.slots = slots.map(([shape, dtype]) => ({
      shape, dtype, data: new ARRAYS[dtype](sizeOf(shape)),
    }));
    this.inputs = inputs;
    this.outputs = outputs;
    for (const [slot, values] of constants) this.slots[slot].data.set(values);
    this.equations = equations.map((equation) => ({
      ...equation,
      reads: equation.reads.map((slot) => this.slots[slot]),
      writes: equation.writes.map((slot) => this.slots[slot]),
    }));
    this.steps = this.equations.map((equation) => {
      if (!(equation.op in PRIMITIVES)) throw new Error(`the page cannot run ${equation.op}`);
      return PRIMITIVES[equation.op](equation);
    });
  }

  /** The slot of an input or output by its name. */
  slot(name) {
    return this.slots[this.outputs[name] ?? this.inputs[name]];
  }

  /**
   * Run all equations. `inputs` gives arrays by name. `changes` may replace outputs as soon as they
   * are made: name → function of the array, which it changes in place. What follows reads the change.
   */
  run(inputs, changes = {}) {
    for (const [name, data] of Object.entries(inputs)) {
      if (name in this.inputs) this.slots[this.inputs[name]].data.set(data);
    }
    const changed = new Map(Object.entries(changes).map(([name, f]) => [this.outputs[name], f]));
    if (changed.size === 0) {
      for (const step of this.steps) step();
      return this;
    }
    const bySlot = new Map([...changed].map(([slot, f]) => [this.slots[slot], f]));
    this.steps.forEach((step, i) => {
      step();
      for (const slot of this.equations[i].writes) bySlot.get(slot)?.(slot.data);
    });
    return this;
  }

  /** Copies of the outputs, by name. */
  values() {
    return Object.fromEntries(Object.keys(this.outputs).map((name) => [name, this.slot(name).data.slice()]));
  }
}

/** A backward program with another line for one cotangent, `name`; what follows reads its value. */
export function withLine(program, line, name) {
  const given = { ...program.inputs, ...program.outputs };
  const slots = [...program.slots];
  const places = new Map(Object.entries(line.inputs).map(([key, slot]) => [slot, given[key]]));
  const placed = (slot) => {
    if (!places.has(slot)) places.set(slot, slots.push(line.slots[slot]) - 1);
    return places.get(slot);
  };
  const [right, wrong] = [program.outputs[name], placed(line.outputs[name])];
  const end = program.equations.findIndex(({ writes }) => writes.includes(right)) + 1;
  return {
    ...program,
    slots,
    outputs: { ...program.outputs, [name]: wrong },
    constants: [...program.constants, ...line.constants.map(([slot, values]) => [placed(slot), values])],
    equations: [
      ...program.equations.slice(0, end),
      ...line.equations.map((equation) => ({
        ...equation, reads: equation.reads.map(placed), writes: equation.writes.map(placed),
      })),
      ...program.equations.slice(end).map((equation) => ({
        ...equation, reads: equation.reads.map((slot) => (slot === right ? wrong : slot)),
      })),
    ],
  };
}
