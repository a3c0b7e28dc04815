/** Whole state-space layers with all gradients. */
import { fftConv } from "@seqmix/fft";
import { runMixer, type AnyMixer, type MixerConfig } from "@seqmix/mixer";
import { lssl, s4, s4d } from "@seqmix/s4";
import {
  foldIn,
  key,
  matmul,
  namedLeaves,
  normal,
  replaceLeaves,
  transpose,
  vjp,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { timesOf, type Bar } from "../bars.js";
import type { BenchmarkCase } from "../contestant.js";
import { deviceCase, type Work } from "../device-case.js";

interface Size {
  readonly B: number;
  readonly L: number;
  readonly D: number;
}

const k = key(2026);
const draw = (name: string, shape: readonly number[]): Tensor => normal(foldIn(k, name), shape);
const sizeText = ({ B, L, D }: Size): string => `B${B} L${L} D${D}`;

interface Layer {
  readonly kernel: string;
  readonly mixer: AnyMixer;
  readonly config: (size: Size) => MixerConfig;
  readonly size: Size;
  /** What the reference computes whole. */
  readonly smaller: Size;
  /** States a channel. */
  readonly states: number;
  readonly flops: number;
  readonly bars?: readonly Bar[];
  readonly beside?: Readonly<Record<string, Work>>;
  readonly reference?: string;
  readonly tolerance?: number;
}

/** Inputs: x and dy [B L D], and the parameters by path. */
function layerCase({
  mixer,
  config,
  size,
  smaller,
  states,
  bars = [],
  tolerance = 1e-4,
  ...facts
}: Layer): BenchmarkCase {
  const fresh = (of: Size) => mixer.init(config(of), foldIn(k, "parameters"));
  const drawn = (of: Size): Readonly<Record<string, Tensor>> => ({
    x: draw("x", [of.B, of.L, of.D]),
    dy: draw("dy", [of.B, of.L, of.D]),
    ...namedLeaves(fresh(of)),
  });
  // Starts of many states take long: the form of the parameters is that of a few.
  const template = (): Tree => fresh(smaller);
  return deviceCase<string>({
    ...facts,
    shape: `${sizeText(size)} N${states}`,
    mode: "fwd+bwd",
    bytes: 4 * 4 * size.B * size.L * size.D,
    rate: "GFLOP/s",
    bars,
    compiled: true,
    inputs: () => drawn(size),
    compute({ dy, x, ...leaves }) {
      const [B, L, D] = x!.shape as [number, number, number];
      const whole = config({ B, L, D });
      const params = template();
      const [y, pullBack] = vjp(
        (given: { readonly x: Tensor; readonly leaves: Readonly<Record<string, Tensor>> }) =>
          runMixer(mixer, whole, replaceLeaves(params, Object.values(given.leaves)), given.x)[0],
        { x: x!, leaves },
      );
      const gradients = pullBack(dy!);
      return [y, gradients.x, ...Object.values(gradients.leaves)];
    },
    units: { count: size.B, checked: 0, name: "sequences", inputAxis: { x: 0, dy: 0 }, outputAxis: [0, 0] },
    smaller: { size: sizeText(smaller), inputs: () => drawn(smaller) },
    tolerance,
    tf32Tolerance: 1e-2,
  });
}

const convolution = "convolution";
const projection = "projection";

/** The parts of a layer as they stand in it, with their gradients: u [B D L] * k [D L], and y [BL D] to values and gates [BL 2D]. */
const parts = ({ B, L, D }: Size): Readonly<Record<string, Work>> => ({
  [convolution]: {
    inputs: () => ({
      u: draw("x", [B, D, L]),
      k: draw("k", [D, L]),
      skip: draw("skip", [D]),
      dy: draw("dy", [B, D, L]),
    }),
    compute({ dy, u, k: taps, skip }) {
      const given = { u: u!, k: taps!, skip: skip! };
      const [y, pullBack] = vjp((x: typeof given) => fftConv(x), given);
      return [y, ...Object.values(pullBack(dy!))];
    },
  },
  [projection]: {
    inputs: () => ({ y: draw("x", [B * L, D]), w: draw("w", [2 * D, D]), dz: draw("dz", [B * L, 2 * D]) }),
    compute({ y, w, dz }) {
      const given = { y: y!, w: w! };
      const [z, pullBack] = vjp((x: typeof given) => matmul(x.y, transpose(x.w)), given);
      return [z, ...Object.values(pullBack(dz!))];
    },
  },
});

/** S4D at a size, N = 64, beside its convolution and its projection alone: at most half the convolution's time more than both. */
export function stateSpaceLayer(size: Size, smaller: Size): BenchmarkCase {
  const { B, L, D } = size;
  return layerCase({
    kernel: "S4D layer",
    mixer: s4d,
    config: (of) => ({ ...s4d.config, dModel: of.D }),
    size,
    smaller,
    states: s4d.config.dState,
    flops: 3 * 2 * B * L * D * 2 * D,
    bars: [timesOf({ [convolution]: 1.5, [projection]: 1 })],
    beside: parts(size),
  });
}

/**
 * The layers of S4's table 2 (Gu, Goel, Re, Efficiently Modeling Long Sequences with Structured State Spaces, 2022): LSSL, which holds
 * and inverts a matrix a channel, and S4; channels and states both `dimension`.
 */
export const structuredAgainstDense = (
  dimension: number,
  [publishedDense, published]: readonly string[],
): readonly BenchmarkCase[] => {
  const size = { B: 1, L: 1024, D: dimension };
  const smaller = { B: 1, L: 40, D: 4 };
  const N = dimension;
  const statesOf = (of: Size): number => (of === size || of.D === dimension ? N : 4);
  return [
    layerCase({
      kernel: "LSSL layer",
      mixer: lssl,
      config: (of) => ({ ...lssl.config, dModel: of.D, dState: statesOf(of), learn: "shared", learnDt: true }),
      size,
      smaller,
      states: N,
      // an inverse, and powers up to the length, of a matrix a channel
      flops: 3 * 2 * dimension * N ** 3 * (2 + Math.log2(size.L)),
      ...(publishedDense !== undefined && { reference: publishedDense }),
      tolerance: 1e-3,
    }),
    layerCase({
      kernel: "S4 layer",
      mixer: s4,
      config: (of) => ({ ...s4.config, dModel: of.D, dState: statesOf(of), mode: "dplr", kernelLength: of.L }),
      size,
      smaller,
      states: N,
      flops: 3 * 30 * dimension * N * size.L,
      ...(published !== undefined && { reference: published }),
      tolerance: 1e-3,
    }),
  ];
};
