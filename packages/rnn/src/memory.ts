/** Recurrent networks with a memory of polynomials: HiPPO-RNN and the Legendre memory unit. */
import { hippoRecurrence, type HippoMeasureName, type HippoRule } from "@seqmix/hippo";
import { defineMixer, inChunks, type MixerDefinition } from "@seqmix/mixer";
import { initLinear, linear, type LinearParameters } from "@seqmix/nn";
import {
  add,
  arange,
  broadcastTo,
  cast,
  concat,
  cumsum,
  div,
  expandDims,
  foldIn,
  linearScan,
  matmul,
  mul,
  pad,
  reshape,
  sequentialScan,
  sigmoid,
  sliceAxis,
  sqrt,
  sub,
  tanh,
  tensor,
  transpose,
  where,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Settings of {@link hippoRnn} and {@link lmu}. */
export type MemoryConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** Hidden channels; 0: D. */
  readonly dState: number;
  /** Signals that are remembered. */
  readonly memorySize: number;
  /** Coefficients N of each signal. */
  readonly memoryOrder: number;
  /**
   * By what the past is weighted; a measure of `@seqmix/hippo`. "scaled-legs" weights all positions so far evenly: its step
   * is 1/t at the t-th, whatever `dt` is, and its state counts them.
   */
  readonly measure: "legs" | "scaled-legs" | "legt" | "lmu" | "lagt" | "fourier";
  /** Step in units of the measure's time: 1 / dt positions are what is remembered. */
  readonly dt: number;
  /** How the memory's equation becomes a recurrence. */
  readonly rule: HippoRule;
  /** Whether a gate decides how much of the hidden state is new. */
  readonly gated: boolean;
  /** Positions whose states are kept together for the gradient, and that the chunked mode takes at once. */
  readonly chunkSize: number;
};

/** Maps of the input x, the hidden state h and the memory m, flat. */
export type MemoryParameters = {
  /** The memory's recurrence [N N] and [N], as the measure has it; their published learning rate is 0. "scaled-legs" has none. */
  readonly A?: Tensor;
  /** Input map of the memory. */
  readonly B?: Tensor;
  /** x and h to the remembered signals [S, D + H]. */
  readonly memory_in: LinearParameters;
  /** x, h and m to the new hidden state [H, D + H + S N]. */
  readonly hidden: LinearParameters;
  /** The same to the gate; none: the hidden state is replaced. */
  readonly gate?: LinearParameters;
  /** Where H is not D: hidden state to output [D H]. */
  readonly out_proj?: LinearParameters;
};

/** h [B H] and the memory m [B S N]. */
export type MemoryState = {
  /** The hidden state. */
  readonly h: Tensor;
  /** The memory. */
  readonly m: Tensor;
  /** With "scaled-legs": positions seen [B]. */
  readonly t?: Tensor;
};

function initMemory({ measure, memoryOrder: N, dt, rule }: MemoryConfig): {
  readonly A: Tensor;
  /** Input map of the memory. */
  readonly B: Tensor;
} {
  const { Abar, Bbar } = hippoRecurrence(measure as HippoMeasureName, N, dt, rule);
  return { A: tensor(Float64Array.from(Abar), [N, N]), B: tensor(Float64Array.from(Bbar), [N]) };
}

/** "zoh" of a step that changes with every position is no product with a matrix that is known before. */
function refuseZoh({ rule }: MemoryConfig): Record<string, never> {
  if (rule === "zoh")
    throw new RangeError('expected rule "bilinear", "euler" or "backward_euler" with measure "scaled-legs", got "zoh"');
  return {};
}

/**
 * One step of scaled LegS (Gu et al., HiPPO, 2020, equation 4): (I + w L/t) m' = (I - (1 - w) L/t) m + b u/t for the t-th position,
 * with L_nk = r_n r_k below the diagonal, n + 1 on it, r_n = b_n = sqrt(2n + 1). Products with L are running sums, and its
 * inverse is a linear recurrence over the coefficients, so that a step costs N and not N^2.
 * @param m [B S N]
 * @param u [B S]
 * @param t [B], 1 at the first position
 */
function scaledLegsStep(m: Tensor, u: Tensor, t: Tensor, w: number): Tensor {
  const [B, , N] = m.shape as [number, number, number];
  const n = cast(arange(N), "f32");
  const r = sqrt(add(mul(n, 2), 1));
  const step = reshape(div(1, t), [B, 1, 1]);
  const before = (x: Tensor): Tensor => sub(cumsum(x, 2), x);
  const slope = add(mul(r, before(mul(r, m))), mul(add(n, 1), m));
  const known = add(sub(m, mul(mul(step, 1 - w), slope)), mul(mul(step, r), expandDims(u, 2)));
  const c = mul(step, w);
  const diagonal = add(1, mul(c, add(n, 1)));
  // sums_n = sum_(k < n) r_k m'_k
  const whole = broadcastTo(sub(1, div(mul(c, add(mul(n, 2), 1)), diagonal)), m.shape);
  const after = linearScan({ a: whole, b: div(mul(r, known), diagonal), axis: 2 });
  const sums = pad(sliceAxis(after, 2, 0, N - 1), [0, 0, 1], [0, 0, 0]);
  return div(sub(known, mul(mul(c, r), sums)), diagonal);
}

/** u = W_u [x, h]; m' = A m + B u; h' = tanh(W_h [x, h, m']), by a share of it where there is a gate. x [B D]. */
function stepMemory(params: MemoryParameters, x: Tensor, { h, m, t }: MemoryState, weight: number): MemoryState {
  const u = linear(params.memory_in, concat([x, h], 1));
  const seen = t && add(t, 1);
  const next = seen
    ? scaledLegsStep(m, u, seen, weight)
    : add(matmul(m, transpose(params.A!)), mul(expandDims(u, 2), params.B!));
  const all = concat([x, h, reshape(next, [next.shape[0]!, next.shape[1]! * next.shape[2]!])], 1);
  const candidate = tanh(linear(params.hidden, all));
  const counted = seen && { t: seen };
  if (!params.gate) return { h: candidate, m: next, ...counted };
  const share = sigmoid(linear(params.gate, all));
  return { h: add(mul(sub(1, share), h), mul(share, candidate)), m: next, ...counted };
}

function memoryMixer(id: string, config: MemoryConfig): MixerDefinition<MemoryConfig, MemoryParameters, MemoryState> {
  const hiddenOf = ({ dState, dModel }: MemoryConfig): number => dState || dModel;
  const out = ({ out_proj }: MemoryParameters, h: Tensor): Tensor => (out_proj ? linear(out_proj, h) : h);
  const initState = (given: MemoryConfig, batch: number): MemoryState => ({
    h: zeros([batch, hiddenOf(given)]),
    m: zeros([batch, given.memorySize, given.memoryOrder]),
    ...(given.measure === "scaled-legs" && { t: zeros([batch]) }),
  });
  /** Share of a step's end in its slope. */
  const weightOf = ({ rule }: MemoryConfig): number => ({ euler: 0, bilinear: 0.5, backward_euler: 1, zoh: NaN })[rule];
  const parallel = (
    given: MemoryConfig,
    params: MemoryParameters,
    x: Tensor,
    initial = initState(given, x.shape[0]!),
    resets?: Tensor,
  ): readonly [Tensor, MemoryState] => {
    if (x.shape[1] === 0) return [x, initial];
    const { state, outputs } = sequentialScan({
      step: (before: MemoryState, now: { x: Tensor; reset?: Tensor }, weights: MemoryParameters) => {
        const start = now.reset
          ? {
              h: where(now.reset, 0, before.h),
              m: where(expandDims(now.reset, 2), 0, before.m),
              ...(before.t && { t: where(reshape(now.reset, before.t.shape), 0, before.t) }),
            }
          : before;
        const next = stepMemory(weights, now.x, start, weightOf(given));
        return [next, next.h] as const;
      },
      initial,
      inputs: { x: transpose(x, [1, 0, 2]), ...(resets && { reset: expandDims(transpose(resets), 2) }) },
      constants: params,
      chunkSize: given.chunkSize,
    });
    return [out(params, transpose(outputs, [1, 0, 2])), state];
  };
  return defineMixer({
    id,
    config,
    choices: {
      measure: ["legs", "scaled-legs", "legt", "lmu", "lagt", "fourier"],
      rule: ["euler", "backward_euler", "bilinear", "zoh"],
    },
    ranges: {
      dState: [0, Infinity, "whole"],
      memorySize: [1, Infinity, "whole"],
      memoryOrder: [1, Infinity, "whole"],
      dt: [1e-30, Infinity],
    },
    samples: {
      tiny: { dModel: 2, memorySize: 2, memoryOrder: 2, dt: 0.2, chunkSize: 4 },
      scaled: {
        dModel: 2,
        memorySize: 2,
        memoryOrder: 3,
        measure: "scaled-legs",
        rule: "bilinear",
        chunkSize: 4,
      },
    },
    state: "constant",
    resets: true,
    parameterGroups: () => [{ match: /(^|\.)[AB]$/, learningRateScale: 0, weightDecay: 0 }],

    init(given, key: Key): MemoryParameters {
      const { dModel: D, memorySize: S, memoryOrder: N, gated } = given;
      const H = hiddenOf(given);
      const map = (name: string, inputs: number, outputs: number): LinearParameters =>
        initLinear(foldIn(key, name), inputs, outputs);
      return {
        ...(given.measure === "scaled-legs" ? refuseZoh(given) : initMemory(given)),
        memory_in: map("memory_in", D + H, S),
        hidden: map("hidden", D + H + S * N, H),
        ...(gated && { gate: map("gate", D + H + S * N, H) }),
        ...(H !== D && { out_proj: map("out_proj", H, D) }),
      };
    },

    initState,

    step(config, params, x, state) {
      const next = stepMemory(params, x, state, weightOf(config));
      return [out(params, next.h), next];
    },

    modes: {
      parallel,
      chunked: (given, params, x, state, resets) =>
        inChunks(
          (piece, before: MemoryState | undefined, flags) => parallel(given, params, piece, before, flags),
          given.chunkSize,
          x,
          state,
          resets,
        ),
    },
  });
}

const defaults = { dModel: 64, dState: 0, memorySize: 1, memoryOrder: 64, chunkSize: 4096 } as const;

/**
 * HiPPO-RNN (Gu et al., HiPPO: Recurrent Memory with Optimal Polynomial Projections, 2020, section 4): a gated network
 * whose memory holds polynomial coefficients of signals it makes itself: by a time-invariant measure, or by scaled LegS, the
 * paper's own, whose step is 1/t.
 */
export const hippoRnn = memoryMixer("hippoRnn", {
  ...defaults,
  measure: "legs",
  dt: 0.01,
  rule: "bilinear",
  gated: true,
});

/** The Legendre memory unit (Voelker, Kajic, Eliasmith, 2019): a window of 1 / dt positions, by default 100, no gate. */
export const lmu = memoryMixer("lmu", { ...defaults, measure: "lmu", dt: 0.01, rule: "zoh", gated: false });
