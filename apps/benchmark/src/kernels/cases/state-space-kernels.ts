/** Convolution kernels of state-space models with all gradients: what S4 and S4D spend beside the convolution. */
import { cauchyKernel, diagonalKernel, dplrKernel } from "@seqmix/lti";
import { key, uniform, vjp, type Complex, type Tensor } from "@seqmix/tensor";
import { withinMemory } from "../bars.js";
import type { BenchmarkCase } from "../contestant.js";
import { deviceCase } from "../device-case.js";

/** H channels of N stored modes, kernels of length L. */
interface Size {
  readonly H: number;
  readonly N: number;
  readonly L: number;
}

type Names = "dt" | "decay" | "turn" | "Bre" | "Bim" | "Cre" | "Cim" | "Pre" | "Pim" | "dK";
type Inputs = Readonly<Record<Names, Tensor>>;

function drawn({ H, N, L }: Size): Inputs {
  const draw = (seed: number, shape: readonly number[], low = -1, high = 1): Tensor =>
    uniform(key(seed), shape, low, high);
  return {
    dt: draw(1, [H, 1], 0.001, 0.1),
    decay: draw(2, [H, N], -1, -0.1),
    turn: draw(3, [H, N], -30, 30),
    Bre: draw(4, [H, N]),
    Bim: draw(5, [H, N]),
    Cre: draw(6, [1, H, N]),
    Cim: draw(7, [1, H, N]),
    Pre: draw(8, [1, H, N]),
    Pim: draw(9, [1, H, N]),
    dK: draw(10, [1, H, L]),
  };
}

const pair = (re: Tensor, im: Tensor): Complex => ({ re, im });

const kernels = {
  /** Powers in two levels, zero-order hold. */
  "S4D kernel": {
    kernel: ({ dt, decay, turn, Bre, Bim, Cre, Cim }: Inputs, L: number): Tensor =>
      diagonalKernel({ dt, A: pair(decay, turn), B: pair(Bre, Bim), C: pair(Cre, Cim) }, L),
    flops: ({ H, N, L }: Size): number => 4 * H * N * L,
    names: ["dt", "decay", "turn", "Bre", "Bim", "Cre", "Cim"],
  },
  /** Cauchy sums and a correction of rank 1. */
  "S4 kernel": {
    kernel: ({ dt, decay, turn, Bre, Bim, Cre, Cim, Pre, Pim }: Inputs, L: number): Tensor =>
      dplrKernel({ dt, A: pair(decay, turn), B: pair(Bre, Bim), C: pair(Cre, Cim), P: pair(Pre, Pim) }, L).K,
    flops: ({ H, N, L }: Size): number =>
      cauchyKernel.record.cost({ K: 4, H, N, F: Math.floor(L / 2) + 1 }, { length: L }).flops,
    names: ["dt", "decay", "turn", "Bre", "Bim", "Cre", "Cim", "Pre", "Pim"],
  },
} as const;

/** Both kernels at a size, each with at most 0.7 H N L floats beside its inputs; a smaller instance is checked whole. */
export function stateSpaceKernels(size: Size, smaller: Size): BenchmarkCase[] {
  const { H, N, L } = size;
  const axes = { dt: 0, decay: 0, turn: 0, Bre: 0, Bim: 0, Cre: 1, Cim: 1, Pre: 1, Pim: 1, dK: 1 } as const;
  return Object.entries(kernels).map(([name, { kernel, flops, names }]) =>
    deviceCase<Names>({
      kernel: name,
      shape: `H${H} N${N} L${L}`,
      mode: "fwd+bwd",
      flops: 3 * flops(size),
      bytes: 4 * H * (2 * L + 2 * names.length * N),
      rate: "GFLOP/s",
      bars: [withinMemory((0.7 * H * N * L * 4) / 2 ** 20)],
      compiled: true,
      inputs: () => drawn(size),
      compute({ dK, ...given }) {
        const length = dK.shape[2]!;
        const [K, pullBack] = vjp((x: typeof given) => kernel({ ...x, dK }, length), given);
        const gradients = pullBack(dK);
        return [K, ...names.map((each) => gradients[each])];
      },
      units: {
        count: H,
        checked: 1,
        name: "channels",
        inputAxis: axes,
        outputAxis: [1, ...names.map((each) => axes[each])],
      },
      smaller: { size: `H${smaller.H} N${smaller.N} L${smaller.L}`, inputs: () => drawn(smaller) },
      tolerance: 1e-4,
    }),
  );
}
