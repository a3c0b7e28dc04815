/** One linear time-invariant system, whatever its structure, as a recurrence and as a convolution. */
import { fftConv } from "@seqmix/fft";
import {
  add,
  assertSettings,
  assertTensor,
  broadcastTo,
  expandDims,
  formatShape,
  mul,
  pad,
  reshape,
  ShapeError,
  sliceAxis,
  stack,
  zeros,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";

/**
 * A discrete system h_t = Abar h_(t-1) + Bbar u_t, y_t = C h_t for each of H channels, with M outputs a channel. All of its
 * functions describe one map, so that a sequence can be convolved, stepped through, or both in turn: {@link convolve},
 * {@link recur}.
 */
export interface LtiSystem<S extends Tree> {
  /** H. */
  readonly channels: number;
  /** M. */
  readonly outputs: number;
  /** The state before anything was seen. */
  restState(batch: number): S;
  /** The recurrent view: one input u [B H] -> y [B M H] and the state after it. */
  step(u: Tensor, h: S): readonly [Tensor, S];
  /** The convolutional view: C Abar^l Bbar for l < L, [M H L]. */
  kernel(L: number): Tensor;
  /** What a state adds to the next L outputs: C Abar^(l+1) h, [B M H L]. */
  response(h: S, L: number): Tensor;
  /** The state after u [B H L], from h0 on. */
  finalState(u: Tensor, h0?: S): S;
}

/** Outputs and the state after them. */
export interface LtiRun<S extends Tree> {
  /** [B M H L]. */
  readonly y: Tensor;
  /** State after the last position; the one given if there is no position. */
  readonly hT: S;
}

/** What {@link convolve} does beside the system. */
export interface ConvolveOptions {
  /** D of y_t = C h_t + D u_t [M H]; it costs nothing, being added to the transformed kernel. */
  readonly skip?: Tensor | undefined;
  /** Factor of the outputs [B M H L], taken in the convolution. */
  readonly gate?: Tensor | undefined;
}

/**
 * A whole sequence by its convolution kernel, from a state and to a state.
 * @param u [B H L]
 * @throws ShapeError if u is not [B H L].
 */
export function convolve<S extends Tree>(
  system: LtiSystem<S>,
  u: Tensor,
  h0?: S,
  options: ConvolveOptions = {},
): LtiRun<S> {
  assertSettings("convolve", options, { skip: "tensor?", gate: "tensor?" });
  const { skip, gate } = options;
  const [B, H, L] = extents(system, u, "convolve");
  const { outputs: M } = system;
  if (L === 0) return { y: zeros([B, M, H, 0]), hT: h0 ?? system.restState(B) };
  const repeated = M === 1 ? u : reshape(broadcastTo(expandDims(u, 1), [B, M, H, L]), [B, M * H, L]);
  const rows = gate && reshape(gate, [B, M * H, L]);
  const driven = reshape(
    fftConv({
      u: repeated,
      k: reshape(system.kernel(L), [M * H, L]),
      skip: skip && reshape(skip, [M * H]),
      gate: rows,
    }),
    [B, M, H, L],
  );
  const hT = system.finalState(u, h0);
  if (!h0) return { y: driven, hT };
  const response = system.response(h0, L);
  return { y: add(driven, gate ? mul(gate, response) : response), hT };
}

/** K [M H L] with D [M H] added to its first values. */
export const withSkip = (K: Tensor, D: Tensor): Tensor =>
  add(K, pad(expandDims(D, 2), [0, 0, 0], [0, 0, K.shape[2]! - 1]));

/** {@link convolve} one position after the other. */
export function recur<S extends Tree>(system: LtiSystem<S>, u: Tensor, h0?: S): LtiRun<S> {
  const [B, H, L] = extents(system, u, "recur");
  let h = h0 ?? system.restState(B);
  const outputs: Tensor[] = [];
  for (let t = 0; t < L; t++) {
    const [y, next] = system.step(reshape(sliceAxis(u, 2, t, t + 1), [B, H]), h);
    outputs.push(y);
    h = next;
  }
  return { y: L === 0 ? zeros([B, system.outputs, H, 0]) : stack(outputs, 3), hT: h };
}

function extents({ channels }: { readonly channels: number }, u: Tensor, caller: string): [number, number, number] {
  assertTensor(caller, u);
  if (u.shape.length !== 3 || u.shape[1] !== channels)
    throw new ShapeError(`${caller}: expected u [B ${channels} L], got shape ${formatShape(u.shape)}`);
  return u.shape as [number, number, number];
}
