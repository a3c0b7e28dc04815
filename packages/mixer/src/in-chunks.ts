/** The chunked mode of mixers whose parallel mode takes a state and gives one. */
import { concat, sliceAxis, type Tensor } from "@seqmix/tensor";

/**
 * Runs pieces of `chunkSize` positions of x [B L D] one after another, the state carried between them: the memory of one
 * piece at a time.
 * @param run A piece [B Q D], the state before it, undefined at the start, and its resets [B Q] -> outputs [B Q D] and the state after it.
 * @returns Outputs [B L D] and the state after the last position.
 * @throws RangeError for a chunkSize below 1.
 */
export function inChunks<S>(
  run: (x: Tensor, state: S | undefined, resets: Tensor | undefined) => readonly [Tensor, S],
  chunkSize: number,
  x: Tensor,
  state: S | undefined,
  resets?: Tensor,
): readonly [Tensor, S] {
  const L = x.shape[1]!;
  if (!Number.isInteger(chunkSize) || chunkSize < 1)
    throw new RangeError(
      `chunked mode: expected a chunkSize of at least 1, got ${chunkSize}; set it in the mixer's config`,
    );
  if (L <= chunkSize) return run(x, state, resets);
  const outputs: Tensor[] = [];
  let carried = state;
  for (let start = 0; start < L; start += chunkSize) {
    const end = Math.min(L, start + chunkSize);
    const flags = resets && sliceAxis(resets, 1, start, end);
    const [y, next] = run(sliceAxis(x, 1, start, end), carried, flags);
    outputs.push(y);
    carried = next;
  }
  return [concat(outputs, 1), carried!];
}
