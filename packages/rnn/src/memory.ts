/** Recurrent networks with a memory of polynomials: HiPPO-RNN and the Legendre memory unit. */
import { hippoRecurrence, type HippoMeasureName, type HippoRule } from "@seqmix/hippo";
import { defineMixer, inChunks, type MixerDefinition } from "@seqmix/mixer";
import { initLinear, linear, type LinearParameters } from "@seqmix/nn";
import {
  add,
  concat,
  expandDims,
  foldIn,
  matmul,
  mul,
  reshape,
  sequentialScan,
  sigmoid,
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
  /** By what the past is weighted; a measure of `@seqmix/hippo`. */
  readonly measure: "legs" | "legt" | "lmu" | "lagt" | "fourier";
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
  /** The memory's recurrence [N N] and [N], as the measure has it; their published learning rate is 0. */
  readonly A: Tensor;
  /** Input map of the memory. */
  readonly B: Tensor;
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
};

function initMemory({ measure, memoryOrder: N, dt, rule }: MemoryConfig): {
  readonly A: Tensor;
  /** Input map of the memory. */
  readonly B: Tensor;
} {
  const { Abar, Bbar } = hippoRecurrence(measure as HippoMeasureName, N, dt, rule);
  return { A: tensor(Float64Array.from(Abar), [N, N]), B: tensor(Float64Array.from(Bbar), [N]) };
}

/** u = W_u [x, h]; m' = A m + B u; h' = tanh(W_h [x, h, m']), by a share of it where there is a gate. x [B D]. */
function stepMemory(params: MemoryParameters, x: Tensor, { h, m }: MemoryState): MemoryState {
  const u = linear(params.memory_in, concat([x, h], 1));
  const next = add(matmul(m, transpose(params.A)), mul(expandDims(u, 2), params.B));
  const all = concat([x, h, reshape(next, [next.shape[0]!, next.shape[1]! * next.shape[2]!])], 1);
  const candidate = tanh(linear(params.hidden, all));
  if (!params.gate) return { h: candidate, m: next };
  const share = sigmoid(linear(params.gate, all));
  return { h: add(mul(sub(1, share), h), mul(share, candidate)), m: next };
}

function memoryMixer(id: string, config: MemoryConfig): MixerDefinition<MemoryConfig, MemoryParameters, MemoryState> {
  const hiddenOf = ({ dState, dModel }: MemoryConfig): number => dState || dModel;
  const out = ({ out_proj }: MemoryParameters, h: Tensor): Tensor => (out_proj ? linear(out_proj, h) : h);
  const initState = (given: MemoryConfig, batch: number): MemoryState => ({
    h: zeros([batch, hiddenOf(given)]),
    m: zeros([batch, given.memorySize, given.memoryOrder]),
  });
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
          ? { h: where(now.reset, 0, before.h), m: where(expandDims(now.reset, 2), 0, before.m) }
          : before;
        const next = stepMemory(weights, now.x, start);
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
      measure: ["legs", "legt", "lmu", "lagt", "fourier"],
      rule: ["euler", "backward_euler", "bilinear", "zoh"],
    },
    ranges: { dState: [0, Infinity], memorySize: [1, Infinity], memoryOrder: [1, Infinity], chunkSize: [1, Infinity] },
    samples: { tiny: { dModel: 2, memorySize: 2, memoryOrder: 2, dt: 0.2, chunkSize: 4 } },
    state: "constant",
    resets: true,
    parameterGroups: () => [{ match: /(^|\.)[AB]$/, learningRateScale: 0, weightDecay: 0 }],

    init(given, key: Key): MemoryParameters {
      const { dModel: D, memorySize: S, memoryOrder: N, gated } = given;
      const H = hiddenOf(given);
      const map = (name: string, inputs: number, outputs: number): LinearParameters =>
        initLinear(foldIn(key, name), inputs, outputs);
      return {
        ...initMemory(given),
        memory_in: map("memory_in", D + H, S),
        hidden: map("hidden", D + H + S * N, H),
        ...(gated && { gate: map("gate", D + H + S * N, H) }),
        ...(H !== D && { out_proj: map("out_proj", H, D) }),
      };
    },

    initState,

    step(_, params, x, state) {
      const next = stepMemory(params, x, state);
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
 * whose memory holds polynomial coefficients of signals it makes itself, by a time-invariant measure. The paper's scaled
 * LegS, whose step changes with every position, is `scaledLegsRecurrence` in `@seqmix/hippo` and not offered here.
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
