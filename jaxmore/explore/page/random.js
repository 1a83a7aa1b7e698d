// Random numbers that depend on a seed and a step alone, so that a link shows the same state.

/** Uniform numbers in [0, 1): mulberry32, its state hashed from the seed and the step. */
export function uniforms(seed, step) {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(step + 1, 0xc2b2ae35);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** n standard normal numbers, by Box and Muller. */
export function normals(uniform, n) {
  return Float64Array.from({ length: n },
    () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

/** A position drawn by unnormalised weights. */
export function choose(uniform, weights) {
  let left = uniform() * weights.reduce((a, b) => a + b, 0);
  for (let i = 0; i < weights.length; i++) {
    left -= weights[i];
    if (left < 0) return i;
  }
  return weights.length - 1;
}
