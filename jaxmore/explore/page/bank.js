// The bank of known mistakes, as in jaxmore/ninja/bank: lines that people write, and the sentence for each.
import { evaluate } from "#page/expression.js";

const SAME = 1e-6;
const largest = (data) => data.reduce((m, x) => Math.max(m, Math.abs(x)), 0);

/** The sentence for a wrong value, or "" where the bank, [[code, sentence], ...], knows none. */
export function answer(bank, ours, right, names) {
  let [best, least] = ["", SAME];
  for (const [code, sentence] of bank) {
    const off = distance(ours, computed(code, names), right);
    if (off <= least && (off < least || !best)) [best, least] = [sentence, off];
  }
  return best;
}

/** The value of a line, or null where it reads what the blank does not offer. */
function computed(code, names) {
  try {
    return evaluate(code, names);
  } catch {
    return null;
  }
}

/** How far apart two values are, relative to the larger of the line's and the right one's scale. */
function distance(ours, value, right) {
  if (!value || `${ours.shape}` !== `${value.shape}`) return Infinity;
  const scale = Math.max(largest(value.data), largest(right.data)) || 1;
  return largest(ours.data.map((x, i) => x - value.data[i])) / scale;
}
