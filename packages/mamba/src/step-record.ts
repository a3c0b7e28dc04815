/** One position of the Mamba block as a kernel record, so that a device may run it in four passes. */
import { causalConv1dStep } from "@seqmix/nn";
import { selectiveScanStep } from "@seqmix/selective-scan";
import {
  defineKernel,
  exp,
  matmul,
  neg,
  split,
  transpose,
  variantOnDemand,
  type Kernel,
  type Tensor,
} from "@seqmix/tensor";

/** Axes of the inputs: F is 2E, P is R + 2N, V is W - 1. */
export type MambaStepInputs = {
  /** Input. */
  readonly x: "B D";
  /** Input of the scan, then gate. */
  readonly inProj: "F D";
  /** The short convolution. */
  readonly conv: "E W";
  /** Its bias. */
  readonly convBias: "E";
  /** Step sizes, B, C. */
  readonly xProj: "P E";
  /** Step sizes of channels. */
  readonly dtProj: "E R";
  /** Added to step sizes before softplus. */
  readonly dtBias: "E";
  /** Logarithms of decay rates. */
  readonly aLog: "E N";
  /** Skip. */
  readonly skip: "E";
  /** Out of the block. */
  readonly outProj: "D E";
  /** The last inputs of the convolution, oldest first. */
  readonly window: "B E V";
  /** The scan's state. */
  readonly state: "B E N";
};

/** Axes of the outputs. */
export type MambaStepOutputs = {
  /** Output. */
  readonly y: "B D";
  /** The next window. */
  readonly nextWindow: "B E V";
  /** The next state. */
  readonly nextState: "B E N";
};

/** Inputs that may be kept in f16. */
const HALVES = ["inProj", "xProj", "dtProj", "aLog", "outProj"] as const;

/**
 * y = out_proj((C . h + D u) silu(z)) of [u, z] = in_proj x, u = silu(conv(u)), [dt, B, C] = x_proj u,
 * delta = softplus(dt_proj dt), h = exp(delta A) h + delta B u: the published block without biases of its projections.
 */
export const mambaStepKernel: Kernel<MambaStepInputs, MambaStepOutputs, undefined> = defineKernel<
  MambaStepInputs,
  MambaStepOutputs
>({
  name: "mambaStep",
  inputs: {
    x: "B D",
    inProj: "F D",
    conv: "E W",
    convBias: "E",
    xProj: "P E",
    dtProj: "E R",
    dtBias: "E",
    aLog: "E N",
    skip: "E",
    outProj: "D E",
    window: "B E V",
    state: "B E N",
  },
  halves: HALVES,
  outputs: { y: "B D", nextWindow: "B E V", nextState: "B E N" },
  reference(inputs, _, dims) {
    const { E, R, N } = dims as { readonly E: number; readonly R: number; readonly N: number };
    const through = (x: Tensor, weight: Tensor): Tensor => matmul(x, transpose(weight));
    const [input, z] = split(through(inputs.x, inputs.inProj), [E, E], -1) as [Tensor, Tensor];
    const filter = { weight: inputs.conv, bias: inputs.convBias };
    const [u, nextWindow] = causalConv1dStep(filter, input, inputs.window, { activation: "silu" });
    const [dt, B, C] = split(through(u, inputs.xProj), [R, N, N], -1) as [Tensor, Tensor, Tensor];
    const scanned = selectiveScanStep(
      {
        delta: through(dt, inputs.dtProj),
        A: neg(exp(inputs.aLog)),
        B,
        C,
        D: inputs.skip,
        deltaBias: inputs.dtBias,
        u,
        z,
        h: inputs.state,
      },
      { deltaSoftplus: true },
    );
    return { y: through(scanned.y, inputs.outProj), nextWindow, nextState: scanned.h };
  },
  cost({ B, D, E, F, P, R, N, W, V }) {
    const weights = F! * D! + E! * W! + P! * E! + E! * R! + D! * E!;
    return {
      flops: B! * (2 * weights + E! * (7 * N! + 8)),
      bytes: 4 * (weights + E! * (N! + 3) + 2 * B! * (D! + E! * (V! + N!))),
    };
  },
  variants: [
    variantOnDemand(
      { device: "webgpu", name: "four passes" },
      async () => (await import("./webgpu/step.js")).mambaStepOnGpu,
    ),
  ],
  samples: [],
});
