/** Systems in companion form, and shifts: what autoregressive models and finite filters are (Zhang et al., Effectively Modeling Time Series with Simple Discrete State Spaces, 2023; Fu et al., Hungry Hungry Hippos, 2023). */
import { fftConv } from "@seqmix/fft";
import {
  add,
  assertNumber,
  assertSettings,
  assertTensors,
  broadcastTo,
  concat,
  einsum,
  expandDims,
  flip,
  formatShape,
  mul,
  neg,
  ones,
  pad,
  reshape,
  ShapeError,
  sliceAxis,
  sub,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import type { LtiSystem } from "./system.js";

/** A discrete system of H channels whose transition moves each state to the next place: (A h)_i = h_(i-1) + a_i h_(N-1). */
export interface CompanionParameters {
  /** The last column of A [H N]; without it A is a shift, which forgets an input after N steps. */
  readonly a?: Tensor | undefined;
  /** Input map [H N]. */
  readonly b: Tensor;
  /** Output maps [M H N]. */
  readonly c: Tensor;
}

/**
 * The kernel c A^l b for l < L, [M H L], in O(N log N + L log L) a channel, from c itself: with the polynomials
 * corr(x, y)_s = sum_j x_(j+s) y_j the series of the kernel is corr(c, b) + z corr(c, a) X, where X is that of the last
 * state, flip(b) / (1 - z flip(a)), and the division is one of power series.
 */
export function companionKernel({ a, b, c }: CompanionParameters, L: number): Tensor {
  assertFits({ a, b, c });
  assertNumber("companionKernel", "the length L", L, { from: 0, whole: true });
  const [M, H] = c.shape as [number, number, number];
  if (L === 0) return zeros([M, H, 0]);
  const direct = fitTo(reshape(correlate(expandDims(b, 0), c), c.shape), L);
  if (!a) return direct;
  const last = convolveRows(fitTo(expandDims(flip(b, 1), 0), L), decaySeries(a, L));
  const through = reshape(correlate(expandDims(a, 0), c), c.shape);
  const repeated = reshape(broadcastTo(last, [M, H, L]), [1, M * H, L]);
  const fed = reshape(convolveRows(repeated, reshape(through, [M * H, through.shape[2]!])), [M, H, L]);
  return add(direct, shifted(fed));
}

/**
 * {@link companionKernel} and the other views of the system. The state is h [B H N].
 */
export function companionSystem(parameters: CompanionParameters): LtiSystem<Tensor> {
  assertFits(parameters);
  const { a, b, c } = parameters;
  const [M, H, N] = c.shape as [number, number, number];
  return {
    channels: H,
    outputs: M,
    restState: (batch) => zeros([batch, H, N]),
    step(u, h) {
      const next = add(companionStep(a, h), mul(expandDims(u, 2), b));
      return [einsum("B H N, M H N -> B M H", next, c), next];
    },
    kernel: (L) => companionKernel(parameters, L),
    response: (h, L) => companionResponse(parameters, h, L),
    finalState: (u, h0) => companionFinalState(parameters, u, h0),
  };
}

/** A h for h [.. H N]. */
export function companionStep(a: Tensor | undefined, h: Tensor): Tensor {
  const N = h.shape.at(-1)!;
  const moved = shifted(h);
  return a ? add(moved, mul(sliceAxis(h, -1, N - 1, N), a)) : moved;
}

/** c A^(l+1) h [B M H L]. */
function companionResponse({ a, c }: CompanionParameters, h: Tensor, L: number): Tensor {
  const [M, H] = c.shape as [number, number];
  const B = h.shape[0]!;
  // The kernel of h in the place of b, from its second value on.
  const direct = fitTo(correlate(h, c), L + 1);
  if (!a) return sliceAxis(direct, 3, 1, L + 1);
  const last = convolveRows(fitTo(flip(h, 2), L), decaySeries(a, L));
  const through = reshape(correlate(expandDims(a, 0), c), c.shape);
  const repeated = reshape(broadcastTo(expandDims(last, 1), [B, M, H, L]), [B, M * H, L]);
  const fed = reshape(convolveRows(repeated, reshape(through, [M * H, through.shape[2]!])), [B, M, H, L]);
  return add(sliceAxis(direct, 3, 1, L + 1), fed);
}

/** The state is made of the last N inputs and of the last N values of its last entry. */
function companionFinalState({ a, b, c }: CompanionParameters, u: Tensor, h0?: Tensor): Tensor {
  const [, H, N] = c.shape as [number, number, number];
  const [B, , L] = u.shape as [number, number, number];
  const recent = (x: Tensor): Tensor => fitTo(flip(sliceAxis(x, 2, Math.max(0, L - N), L), 2), N);
  const fromInputs = convolveRows(recent(u), b);
  // What was in the first places has moved L further.
  const kept = h0 && L < N ? pad(sliceAxis(h0, 2, 0, N - L), [0, 0, L], [0, 0, 0]) : undefined;
  const driven = kept ? add(fromInputs, kept) : fromInputs;
  if (!a) return driven;
  // The last entry before each position.
  const unit = broadcastTo(pad(ones([1]), [N - 1], [0]), [1, H, N]);
  const lastOf = { a, b, c: unit };
  const byInputs = convolveRows(u, reshape(companionKernel(lastOf, L), [H, L]));
  const after = h0 ? add(byInputs, reshape(companionResponse(lastOf, h0, L), [B, H, L])) : byInputs;
  const first = h0 ? sliceAxis(h0, 2, N - 1, N) : zeros([B, H, 1]);
  const before = sliceAxis(concat([first, after], 2), 2, 0, L);
  return add(driven, convolveRows(recent(before), a));
}

/** 1 / (1 - z flip(a)(z)) mod z^L for a [H N], [H L]: how the last state decays. Newton's iteration doubles the number of terms. */
function decaySeries(a: Tensor, L: number): Tensor {
  const [H, N] = a.shape as [number, number];
  const divisor = concat([ones([H, 1]), neg(flip(a, 1))], 1);
  let series = ones([1, H, 1]);
  for (let known = 1; known < L; known *= 2) {
    const terms = Math.min(2 * known, L);
    const f = sliceAxis(divisor, 1, 0, Math.min(terms, N + 1));
    const product = convolveRows(fitTo(series, terms), f);
    const correction = sub(pad(full2(H), [0, 0, 0], [0, 0, terms - 1]), product);
    series = convolveRows(correction, reshape(series, [H, known]));
  }
  return reshape(sliceAxis(series, 2, 0, L), [H, L]);
}

/** The constant series 2 [1 H 1]. */
const full2 = (H: number): Tensor => mul(2, ones([1, H, 1]));

/** corr(c, h)_s = sum_j c_(j+s) h_j for h [B H N] and c [M H N] -> [B M H N]. */
function correlate(h: Tensor, c: Tensor): Tensor {
  const [M, H, N] = c.shape as [number, number, number];
  const B = h.shape[0]!;
  // A convolution of h backwards, from the place on where they meet.
  const reversed = pad(flip(h, 2), [0, 0, 0], [0, 0, N - 1]);
  const repeated = reshape(broadcastTo(expandDims(reversed, 1), [B, M, H, 2 * N - 1]), [B, M * H, 2 * N - 1]);
  const whole = convolveRows(repeated, reshape(c, [M * H, N]));
  return reshape(sliceAxis(whole, 2, N - 1, 2 * N - 1), [B, M, H, N]);
}

/** Causal convolution of u [B D L] with as many taps of k [D K] as there are positions. */
function convolveRows(u: Tensor, k: Tensor): Tensor {
  const L = u.shape[2]!;
  return fftConv({ u, k: k.shape[1]! > L ? sliceAxis(k, 1, 0, L) : k });
}

/** The first L values of the last axis, zeros where there are none. */
function fitTo(x: Tensor, L: number): Tensor {
  const N = x.shape.at(-1)!;
  if (N >= L) return N === L ? x : sliceAxis(x, -1, 0, L);
  const none = x.shape.map(() => 0);
  return pad(x, none, [...none.slice(1), L - N]);
}

/** Each value of the last axis one place on, 0 in front. */
const shifted = (x: Tensor): Tensor =>
  fitTo(
    pad(
      x,
      [...x.shape.slice(1).map(() => 0), 1],
      x.shape.map(() => 0),
    ),
    x.shape.at(-1)!,
  );

function assertFits(parameters: CompanionParameters): void {
  assertSettings("companionKernel", parameters, ["a", "b", "c"]);
  assertTensors("companionKernel", parameters, ["b", "c"], ["a"]);
  const { a, b, c } = parameters;
  const [, H, N] = c.shape;
  const fits = (x: Tensor): boolean => x.shape.join() === `${H},${N}`;
  if (c.shape.length !== 3 || !fits(b) || (a && !fits(a)))
    throw new ShapeError(
      `companion: expected a and b [H N] and c [M H N], got shapes ${[a, b, c].map((x) => (x ? formatShape(x.shape) : "none")).join(", ")}`,
    );
}
