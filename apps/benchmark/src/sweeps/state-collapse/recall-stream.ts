/** Pairs of a key and its value without end, of which no more than the last few have to be remembered. */
import { tensor, threefry, type Key, type Tensor } from "@seqmix/tensor";

/** What streams are made of. */
export interface RecallStreamConfig {
  /** Keys, and as many values: tokens 0 .. keys-1 and keys .. 2 keys-1. */
  readonly keys: number;
  /** A key that was not seen among so many last pairs gets a new value. */
  readonly memory: number;
}

/** A stretch of streams: i32 tokens and labels [B L], and which labels count [B L]. */
export type RecallBatch = { readonly tokens: Tensor; readonly labels: Tensor; readonly mask: Tensor };

/** Streams side by side; `next` gives their next `length` tokens, half as many pairs. */
export interface RecallStreams {
  next(length: number): RecallBatch;
}

/**
 * Streams of pairs: a key drawn from all keys, and its value. Values of keys seen among the last `memory` pairs are the same as
 * then, and are due at the key; others are drawn anew. What is older than that is never asked for, however long a stream is: a
 * model that forgets it does as well at the millionth token as at the first.
 */
export function recallStreams({ keys, memory }: RecallStreamConfig, source: Key, count: number): RecallStreams {
  const value = new Int32Array(count * keys);
  const seen = new Int32Array(count * keys).fill(-memory - 1);
  let [pairs, drawn] = [0, 0];
  let spare: number | undefined;
  const below = (limit: number): number => {
    let word = spare;
    spare = undefined;
    if (word === undefined) {
      const [first, second] = threefry(source.words, [drawn++, 0]);
      [word, spare] = [first, second];
    }
    return Math.floor(((word >>> 0) / 2 ** 32) * limit);
  };
  return {
    next(length) {
      const size = count * length;
      const [tokens, labels, mask] = [new Int32Array(size), new Int32Array(size), new Float32Array(size)];
      for (let t = 0; t < length; t += 2, pairs++)
        for (let b = 0; b < count; b++) {
          const key = below(keys);
          const place = b * keys + key;
          const known = pairs - seen[place]! <= memory;
          if (!known) value[place] = below(keys);
          seen[place] = pairs;
          const at = b * length + t;
          tokens[at] = key;
          tokens[at + 1] = labels[at] = keys + value[place]!;
          mask[at] = known ? 1 : 0;
        }
      const shape = [count, length];
      return { tokens: tensor(tokens, shape, "i32"), labels: tensor(labels, shape, "i32"), mask: tensor(mask, shape) };
    },
  };
}
