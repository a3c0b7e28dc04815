/** A whole S4D layer with all gradients, beside its convolution and its projection alone. */
import { fftConv } from "@seqmix/fft";
import { s4d, type S4dParameters } from "@seqmix/s4";
import { foldIn, key, matmul, normal, transpose, vjp, type Tensor } from "@seqmix/tensor";
import { timesOf } from "../bars.js";
import type { BenchmarkCase } from "../contestant.js";
import { deviceCase, type Work } from "../device-case.js";

interface Size {
  readonly B: number;
  readonly L: number;
  readonly D: number;
}

type Parameter = "skip" | "C" | "log_dt" | "log_A_real" | "A_imag" | "weight" | "bias";
type Names = "x" | "dy" | Parameter;
type Inputs = Readonly<Record<Names, Tensor>>;

const parameters: readonly Parameter[] = ["skip", "C", "log_dt", "log_A_real", "A_imag", "weight", "bias"];
const k = key(2026);
const draw = (name: string, shape: readonly number[]): Tensor => normal(foldIn(k, name), shape);
const configOf = (D: number): typeof s4d.config => ({ ...s4d.config, dModel: D });

function drawn({ B, L, D }: Size): Inputs {
  const { D: skip, kernel, output_linear } = s4d.init(configOf(D), foldIn(k, "parameters"));
  return { x: draw("x", [B, L, D]), dy: draw("dy", [B, L, D]), skip, ...kernel, ...output_linear[0] };
}

const tree = ({ skip, C, log_dt, log_A_real, A_imag, weight, bias }: Omit<Inputs, "dy">): S4dParameters => ({
  D: skip,
  kernel: { C, log_dt, log_A_real, A_imag },
  output_linear: [{ weight, bias }],
});

const convolution = "convolution";
const projection = "projection";

/** The parts as they stand in the layer, with their gradients: u [B D L] * k [D L], and y [BL D] to values and gates [BL 2D]. */
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

/** S4D at a size, N = 64: at most half the convolution's time more than its parts. */
export function stateSpaceLayer(size: Size, smaller: Size): BenchmarkCase {
  const { B, L, D } = size;
  return deviceCase<Names>({
    kernel: "S4D layer",
    shape: `B${B} L${L} D${D} N${s4d.config.dState}`,
    mode: "fwd+bwd",
    flops: 3 * 2 * B * L * D * 2 * D,
    bytes: 4 * 4 * B * L * D,
    rate: "GFLOP/s",
    bars: [timesOf({ [convolution]: 1.5, [projection]: 1 })],
    compiled: true,
    beside: parts(size),
    inputs: () => drawn(size),
    compute({ dy, ...given }) {
      const width = given.skip.shape[0]!;
      const [y, pullBack] = vjp(
        (inputs: typeof given) => s4d.modes.parallel(configOf(width), tree(inputs), inputs.x)[0],
        given,
      );
      const gradients = pullBack(dy);
      return [y, gradients.x, ...parameters.map((name) => gradients[name])];
    },
    units: { count: B, checked: 0, name: "sequences", inputAxis: { x: 0, dy: 0 }, outputAxis: [0, 0] },
    smaller: { size: `B${smaller.B} L${smaller.L} D${smaller.D}`, inputs: () => drawn(smaller) },
    tolerance: 1e-4,
    tf32Tolerance: 1e-2,
  });
}
