import type { HostRandom } from "./host-random.js";

/**
 * Different places in 0 .. space-1, drawn one after another with probabilities proportional to (place + 1)^(a - 1) among those
 * that are left: with a = 1 uniform, with small a mostly early ones.
 * Source: the gaps of `multiquery_ar` in the Zoology code base.
 */
export function powerLawPlaces(random: HostRandom, count: number, space: number, a: number): number[] {
  const weights = Float64Array.from({ length: space }, (_, k) => (k + 1) ** (a - 1));
  return Array.from({ length: count }, () => {
    let left = random.uniform() * weights.reduce((total, weight) => total + weight, 0);
    let chosen = -1;
    for (let place = 0; place < space && (chosen < 0 || left >= 0); place++) {
      if (weights[place] === 0) continue;
      chosen = place;
      left -= weights[place]!;
    }
    weights[chosen] = 0;
    return chosen;
  });
}

/** Puts uniform tokens where there are zeros, as Zoology does with `random_non_queries`: keys may occur by chance. */
export function fillZeros(random: HostRandom, tokens: Int32Array | Float32Array, vocabSize: number): void {
  for (let t = 0; t < tokens.length; t++) {
    const token = random.integer(vocabSize);
    if (tokens[t] === 0) tokens[t] = token;
  }
}
