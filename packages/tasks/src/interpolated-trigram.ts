/**
 * The classic bar for a character model: a trigram, mixed with bigram, unigram and uniform guesses.
 *
 *     p(c | a b) = w3 f(c | a b) + w2 f(c | b) + w1 f(c) + w0 / V
 *
 * f are relative frequencies in the training text. The weights depend on how often the context a b was seen there
 * (one set per doubling of the count), and are fitted on the validation text by expectation maximization:
 * deleted interpolation (Jelinek and Mercer, Interpolated estimation of Markov source parameters from sparse data, 1980;
 * the buckets as in Chen and Goodman, An empirical study of smoothing techniques for language modeling, 1999).
 */

/** What {@link interpolatedTrigram} works on: texts as tokens 0 .. vocabSize-1. */
export interface TrigramTexts {
  /** Counts come from here. */
  readonly train: ArrayLike<number>;
  /** The weights are fitted to this. */
  readonly validation: ArrayLike<number>;
  /** The result is measured on this. */
  readonly test: ArrayLike<number>;
  /** V, at most 256: the table of counts has V^3 entries. */
  readonly vocabSize: number;
}

/** The result of {@link interpolatedTrigram}. */
export interface TrigramResult {
  /** Mean of -log2 p over every character of the test text but the first. */
  readonly bitsPerChar: number;
  /** By bucket, floor(log2(count of the context + 1)): the weights of uniform, unigram, bigram and trigram. */
  readonly weights: readonly (readonly number[])[];
}

const ORDERS = 4;

/**
 * Bits per character of an interpolated trigram model.
 * @throws RangeError if the vocabulary is too large for a table, or a text has fewer than 2 characters.
 */
export function interpolatedTrigram({ train, validation, test, vocabSize }: TrigramTexts): TrigramResult {
  const V = vocabSize;
  if (!Number.isInteger(V) || V < 1 || V > 256)
    throw new RangeError(
      `interpolatedTrigram: expected a vocabulary of 1 to 256 characters, got ${V}; the table of counts would be too large`,
    );
  for (const [name, text] of Object.entries({ train, validation, test }))
    if (text.length < 2)
      throw new RangeError(`interpolatedTrigram: expected at least 2 characters of ${name} text, got ${text.length}`);

  const trigrams = new Int32Array(V * V * V);
  const bigrams = new Int32Array(V * V);
  const unigrams = new Int32Array(V);
  // How often each context was followed by something: the last characters of the text are not.
  const pairs = new Int32Array(V * V);
  const singles = new Int32Array(V);
  for (let i = 0; i < train.length; i++) {
    const c = train[i]!;
    unigrams[c]!++;
    if (i < 1) continue;
    const b = train[i - 1]!;
    bigrams[b * V + c]!++;
    singles[b]!++;
    if (i < 2) continue;
    const ab = train[i - 2]! * V + b;
    trigrams[ab * V + c]!++;
    pairs[ab]!++;
  }

  /** Frequencies of text[i] by order into `out`; returns the bucket. The second character of a text has no trigram context. */
  const frequencies = (text: ArrayLike<number>, i: number, out: Float64Array): number => {
    const c = text[i]!;
    const b = text[i - 1]!;
    const ab = i < 2 ? -1 : text[i - 2]! * V + b;
    const seen = ab < 0 ? 0 : pairs[ab]!;
    out[0] = 1 / V;
    out[1] = unigrams[c]! / train.length;
    out[2] = singles[b] === 0 ? 0 : bigrams[b * V + c]! / singles[b]!;
    out[3] = seen === 0 ? 0 : trigrams[ab * V + c]! / seen;
    return Math.floor(Math.log2(seen + 1));
  };

  const buckets = Math.floor(Math.log2(train.length + 1)) + 1;
  const weights = Array.from({ length: buckets }, () => new Float64Array(ORDERS).fill(1 / ORDERS));
  const f = new Float64Array(ORDERS);
  const bits = (text: ArrayLike<number>, shares?: readonly Float64Array[]): number => {
    let total = 0;
    for (let i = 1; i < text.length; i++) {
      const bucket = frequencies(text, i, f);
      const w = weights[bucket]!;
      let p = 0;
      for (let order = 0; order < ORDERS; order++) p += w[order]! * f[order]!;
      total -= Math.log2(p);
      if (shares) for (let order = 0; order < ORDERS; order++) shares[bucket]![order]! += (w[order]! * f[order]!) / p;
    }
    return total / (text.length - 1);
  };

  // Each round raises the likelihood of the validation text; the floor keeps every test character possible.
  let before = Infinity;
  for (let round = 0; round < 50; round++) {
    const shares = weights.map(() => new Float64Array(ORDERS).fill(1e-3));
    const now = bits(validation, shares);
    shares.forEach((share, bucket) => {
      const total = share.reduce((a, b) => a + b, 0);
      share.forEach((value, order) => (weights[bucket]![order] = value / total));
    });
    if (before - now < 1e-6) break;
    before = now;
  }
  return { bitsPerChar: bits(test), weights: weights.map((w) => [...w]) };
}
