/** Sequences packed into one: each is filtered as if it were alone. */
import {
  add,
  assertNumber,
  assertSettings,
  assertTensor,
  broadcastTo,
  cast,
  concat,
  cumsum,
  equal,
  expandDims,
  flip,
  formatShape,
  mapTree,
  mul,
  pad,
  reshape,
  ShapeError,
  sliceAxis,
  sum,
  zeros,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { withSkip, type LtiRun, type LtiSystem } from "./system.js";

/** Settings of {@link convolvePacked}. */
export interface PackedOptions<S extends Tree> {
  /** State before the first position. */
  readonly h0?: S | undefined;
  /** D of y_t = C h_t + D u_t [M H]. */
  readonly skip?: Tensor | undefined;
  /** Positions that are done at once, at a cost of so many products for each output; 64 by default. */
  readonly pieceLength?: number;
}

/**
 * {@link convolve} of sequences packed into one: at each reset the state is that of rest again. In pieces: within one,
 * products with Toeplitz matrices whose entries across a reset are zero; between them, the state.
 * @param u [B H L]
 * @param resets bool or i32 [B L], not 0 at the first position of each sequence.
 * @throws ShapeError if resets is not [B L]; RangeError for a pieceLength below 1.
 */
export function convolvePacked<S extends Tree>(
  system: LtiSystem<S>,
  u: Tensor,
  resets: Tensor,
  options: PackedOptions<S> = {},
): LtiRun<S> {
  assertSettings("convolvePacked", options, { h0: "own", skip: "tensor?", pieceLength: "own" });
  for (const x of [u, resets]) assertTensor("convolvePacked", x);
  const { h0, skip, pieceLength = 64 } = options;
  assertNumber("convolvePacked", "pieceLength", pieceLength, { from: 1, whole: true });
  const [B, H, L] = u.shape as [number, number, number];
  if (resets.shape.join() !== `${B},${L}`)
    throw new ShapeError(
      `convolvePacked: expected resets [B L] = [${B},${L}] for u ${formatShape(u.shape)}, got shape ${formatShape(resets.shape)}`,
    );
  let h = h0 ?? system.restState(B);
  if (L === 0) return { y: zeros([B, system.outputs, H, 0]), hT: h };
  const taps = system.kernel(Math.min(L, pieceLength));
  const kernel = skip ? withSkip(taps, skip) : taps;
  const outputs: Tensor[] = [];
  for (let start = 0; start < L; start += pieceLength) {
    const end = Math.min(L, start + pieceLength);
    const flags = cast(cast(sliceAxis(resets, 1, start, end), "bool"), "f32");
    const { y, hT } = piece(system, kernel, sliceAxis(u, 2, start, end), flags, h);
    outputs.push(y);
    h = hT;
  }
  return { y: concat(outputs, 3), hT: h };
}

/** One piece: kernel [M H Q], Q at least the piece's length, u [B H L], resets [B L]. */
function piece<S extends Tree>(system: LtiSystem<S>, kernel: Tensor, u: Tensor, resets: Tensor, h: S): LtiRun<S> {
  const L = u.shape[2]!;
  // Sequences of a piece are numbered; 0 goes on from the piece before.
  const number = cumsum(resets, 1);
  const last = sliceAxis(number, 1, L - 1, L);
  const same = (x: Tensor, y: Tensor | number): Tensor => cast(equal(x, y), "f32");
  const mask = expandDims(expandDims(same(expandDims(number, 2), expandDims(number, 1)), 1), 1);
  const inputs = expandDims(expandDims(u, 1), 3);
  const within = sum(mul(mul(toeplitz(kernel, L), mask), inputs), 4);
  const goesOn = expandDims(expandDims(same(number, 0), 1), 1);
  const kept = mapTree(
    (leaf) => mul(leaf, reshape(same(last, 0), [leaf.shape[0]!, ...leaf.shape.slice(1).map(() => 1)])),
    h,
  );
  return {
    y: add(within, mul(system.response(h, L), goesOn)),
    hT: system.finalState(mul(u, expandDims(same(number, last), 1)), kept),
  };
}

/** T_ts = k_(t-s), zero above the diagonal: kernel [M H Q] -> [M H L L], L at most Q. */
function toeplitz(kernel: Tensor, L: number): Tensor {
  const [M, H] = kernel.shape as [number, number];
  // Rows of 2L entries read as rows of 2L + 1 each begin one place further: entry (r, s) is f_(r+s), f the taps reversed.
  const row = pad(flip(sliceAxis(kernel, 2, 0, L), 2), [0, 0, 0], [0, 0, L]);
  const rows = reshape(broadcastTo(expandDims(row, 2), [M, H, L, 2 * L]), [M, H, 2 * L * L]);
  const skewed = reshape(pad(rows, [0, 0, 0], [0, 0, L]), [M, H, L, 2 * L + 1]);
  return flip(sliceAxis(skewed, 3, 0, L), 2);
}
