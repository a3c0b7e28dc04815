/**
 * Recurrences with a matrix for a state, S_t = a_t S_(t-1) + k_t v_t^T read by y_t = q_t^T S_t, as anyone would write them: a
 * `linearScan` over a product, and a sum. That they run as products of matrices is the planner's doing.
 */
import { selectiveScan } from "@seqmix/selective-scan";
import {
  broadcastTo,
  cast,
  exp,
  foldIn,
  key,
  linearScan,
  mul,
  normal,
  ones,
  reshape,
  softplus,
  sum,
  tensor,
  uniform,
  vjp,
  type Tensor,
} from "@seqmix/tensor";
import { atMost, atMostWithin, fasterThan, type Bar } from "../bars.js";
import type { BenchmarkCase } from "../contestant.js";
import { deviceCase, type DeviceCase, type Work } from "../device-case.js";
import { forwardCase, type Input } from "../forward-case.js";
import { withoutHalf } from "../gpu.js";
import { uniformValues } from "../host-values.js";

/** K keys and V values a head. */
interface Heads {
  readonly B: number;
  readonly L: number;
  readonly H: number;
  readonly K: number;
  readonly V: number;
}

const draw = (name: string, shape: readonly number[]): Tensor => normal(foldIn(key(12), name), shape);
const between = (name: string, shape: readonly number[], low: number, high: number): Tensor =>
  uniform(foldIn(key(12), name), shape, low, high);

/** The sum over keys of q and S: q and k [B L H K] or [B L 1 K], v [B L H V], a decay that broadcasts to [B L H K 1]. */
function matrixStates(q: Tensor, k: Tensor, v: Tensor, decay: Tensor): Tensor {
  const [B, L, H, V] = v.shape as [number, number, number, number];
  const K = k.shape[3]!;
  const all = [B, L, H, K, V];
  const column = (x: Tensor): Tensor => reshape(x, [B, L, x.shape[2]!, K, 1]);
  const drive = mul(column(k), reshape(v, [B, L, H, 1, V]));
  const S = linearScan({ a: broadcastTo(decay, all), b: broadcastTo(drive, all), axis: 1 });
  return sum(mul(S, column(q)), 3);
}

interface Operator {
  inputs(size: Heads): Readonly<Record<string, Tensor>>;
  compute(inputs: Readonly<Record<string, Tensor>>): Tensor;
}

const attentionInputs = ({ B, L, H, K, V }: Heads): Readonly<Record<string, Tensor>> => ({
  q: draw("q", [B, L, H, K]),
  k: draw("k", [B, L, H, K]),
  v: draw("v", [B, L, H, V]),
});

/** Mamba-2's: keys and queries shared by all heads, a step size for each. */
const ssd: Operator = {
  inputs: ({ B, L, H, K, V }) => ({
    x: draw("x", [B, L, H, V]),
    dt: between("dt", [B, L, H], 0.001, 0.1),
    A: between("A", [H], -16, -1),
    B: draw("B", [B, L, 1, K]),
    C: draw("C", [B, L, 1, K]),
  }),
  compute({ x, dt, A, B, C }) {
    const [batch, L, H] = dt!.shape as [number, number, number];
    const decay = reshape(exp(mul(dt!, A!)), [batch, L, H, 1, 1]);
    return matrixStates(C!, B!, mul(x!, reshape(dt!, [batch, L, H, 1])), decay);
  },
};

/** RetNet's: a head forgets at its own pace, 1 - 2^(-5 - h). */
const retention: Operator = {
  inputs: attentionInputs,
  compute({ q, k, v }) {
    const H = v!.shape[2]!;
    const decays = Float32Array.from({ length: H }, (_, h) => 1 - 2 ** (-5 - (8 * h) / H));
    return matrixStates(q!, k!, v!, tensor(decays, [1, 1, H, 1, 1]));
  },
};

const linearAttention: Operator = {
  inputs: attentionInputs,
  compute: ({ q, k, v }) => matrixStates(q!, k!, v!, ones([1, 1, 1, 1, 1])),
};

/** A decay for each key, from gates as published: log sigmoid / 16. */
const gla: Operator = {
  inputs: (size) => ({ ...attentionInputs(size), gate: draw("gate", [size.B, size.L, size.H, size.K]) }),
  compute({ q, k, v, gate }) {
    const decay = exp(mul(softplus(mul(gate!, -1)), -1 / 16));
    return matrixStates(q!, k!, v!, reshape(decay, [...decay.shape, 1]));
  },
};

/** The step by step form, forward: two operations for a state's update and two for its reading. */
const flopsOf = ({ B, L, H, K, V }: Heads): number => 4 * B * L * H * K * V;
/** In the letters of the operator: SSD has states of P x N, the attention ones heads of D. */
const shapeOf = (kernel: string, { B, L, H, K, V }: Heads): string =>
  `B${B} L${L} H${H} ${kernel === "ssd" ? `P${V} N${K}` : K === V ? `D${K}` : `K${K} V${V}`}`;

/** Figures asked for: with f32 as exact as f32, with products of tf32, with operands of f16; the forward pass and both. */
interface Asked {
  readonly f32: readonly [number, number];
  readonly tf32: readonly [number, number];
  readonly f16: readonly [number, number];
  /** MiB of the forward pass beside its inputs. */
  readonly memory?: number;
}

function deviceCases(
  kernel: string,
  { inputs, compute }: Operator,
  size: Heads,
  asked: Asked | undefined,
  elsewhere: string,
  more: Pick<DeviceCase<string>, "beside"> & { readonly bars?: readonly Bar[] } = {},
): readonly BenchmarkCase[] {
  const { B, L, H, K, V } = size;
  const small = { B: 1, L: 150, H: 2, K, V };
  const bytes = 4 * B * L * ((kernel === "ssd" ? 2 : 2 * H) * K + 2 * H * V);
  const bar = (at: 0 | 1, precision: "f32" | "tf32" | "f16"): readonly Bar[] => {
    if (!asked) return at === 0 ? (more.bars ?? []) : [];
    const time = asked[precision][at];
    return [at === 0 && asked.memory !== undefined ? atMostWithin(time, asked.memory) : atMost(time)];
  };
  const half = (x: Tensor): Tensor => (x.shape.length === 4 ? cast(x, "f16") : x);
  const each = (given: Readonly<Record<string, Tensor>>, change: (x: Tensor) => Tensor) =>
    Object.fromEntries(Object.entries(given).map(([name, x]) => [name, change(x)]));
  const drawn = (heads: Heads) => (): Readonly<Record<string, Tensor>> => ({
    ...inputs(heads),
    dy: draw("dy", [heads.B, heads.L, heads.H, V]),
  });
  const halves = (heads: Heads) => (): Readonly<Record<string, Tensor>> => each(drawn(heads)(), half);
  const facts = {
    kernel,
    shape: shapeOf(kernel, size),
    rate: "GFLOP/s",
    reference: elsewhere,
    tolerance: 1e-4,
    tf32Tolerance: 3e-3,
    units: { count: B, checked: 0, name: "sequences", inputAxis: {}, outputAxis: [] },
    compiled: true,
    ...(more.beside && { beside: more.beside }),
  } as const;
  const single = {
    inputs: drawn(size),
    smaller: { size: shapeOf(kernel, small), inputs: drawn(small) },
  } as const;
  const halved = {
    dtype: "f16",
    missing: withoutHalf,
    tolerance: 3e-3,
    inputs: halves(size),
    smaller: { size: shapeOf(kernel, small), inputs: halves(small) },
  } as const;
  // The backward pass is counted as twice the forward one.
  const modes = [
    {
      mode: "fwd",
      flops: flopsOf(size),
      bytes,
      at: 0,
      results: (given: Readonly<Record<string, Tensor>>) => [compute(given)],
    },
    {
      mode: "fwd+bwd",
      flops: 3 * flopsOf(size),
      bytes: 3 * bytes,
      at: 1,
      results: ({ dy, ...own }: Readonly<Record<string, Tensor>>) => {
        const [y, pullBack] = vjp((x: Readonly<Record<string, Tensor>>) => compute(x), own);
        return [y, ...Object.values(pullBack(dy!))];
      },
    },
  ] as const;
  return modes.flatMap(({ at, results, ...mode }) => [
    deviceCase({ ...facts, ...mode, ...single, bars: bar(at, "f32"), tf32Bars: bar(at, "tf32"), compute: results }),
    ...(asked
      ? [
          deviceCase({
            ...facts,
            ...mode,
            bytes: mode.bytes / 2,
            ...halved,
            bars: bar(at, "f16"),
            compute: (given) => [...results(each(given, (x) => cast(x, "f32")))],
          }),
        ]
      : []),
  ]);
}

const pairSize = { B: 8, L: 2048, H: 32, K: 64, V: 64 };
const scanPeer = "selective scan of as many channels and states";

/** Mamba's recurrence with as many states, and a decay for each: what the other one is compared with. */
const selectiveScanBeside: Work = {
  inputs() {
    const { B, L, H, K, V } = pairSize;
    return {
      u: draw("u", [B, L, H * V]),
      delta: between("delta", [B, L, H * V], 0.001, 0.1),
      A: between("A of scan", [H * V, K], -16, -1),
      B: draw("B of scan", [B, L, K]),
      C: draw("C of scan", [B, L, K]),
    };
  },
  compute: ({ u, delta, A, B, C }) => [selectiveScan({ u: u!, delta: delta!, A: A!, B: B!, C: C! }, {}).y],
};

/** On a large GPU; beside them what the official kernels take there. */
export const matrixStateCases: readonly BenchmarkCase[] = [
  ...deviceCases(
    "ssd",
    ssd,
    { B: 8, L: 2048, H: 32, K: 128, V: 64 },
    { f32: [0.62, 2.4], tf32: [0.5, 2], f16: [0.4, 1.7], memory: 220 },
    "H200: the official Triton kernel 2.283 ms in f32, 0.513 ms in tf32; with backward 4.54 ms in tf32",
  ),
  ...deviceCases(
    "ssd",
    ssd,
    { B: 1, L: 65536, H: 32, K: 128, V: 64 },
    { f32: [2.5, 9.5], tf32: [2, 8], f16: [1.6, 6.5] },
    "H200: the official Triton kernel 2.107 ms in tf32; with backward 9.07 ms",
  ),
  ...deviceCases(
    "retention",
    retention,
    { B: 8, L: 2048, H: 16, K: 128, V: 128 },
    { f32: [0.75, 3.2], tf32: [0.6, 2.7], f16: [0.47, 1.9] },
    "H200: the Triton kernel of flash-linear-attention 0.805 ms in tf32; with backward 2.725 ms",
  ),
  ...deviceCases(
    "linearAttention",
    linearAttention,
    { B: 8, L: 2048, H: 16, K: 128, V: 128 },
    { f32: [0.65, 3], tf32: [0.5, 2.4], f16: [0.35, 1.8] },
    "H200: the Triton kernel of flash-linear-attention 0.422 ms in tf32; with backward 1.750 ms",
  ),
  ...deviceCases(
    "gla",
    gla,
    { B: 8, L: 2048, H: 16, K: 128, V: 128 },
    { f32: [1, 4.2], tf32: [0.9, 3.5], f16: [0.8, 3] },
    "H200: the Triton kernel of flash-linear-attention 0.947 ms in tf32; with backward 3.349 ms",
  ),
  ...deviceCases("ssd", ssd, pairSize, undefined, "Dao and Gu 2024: 2 to 8 times the speed of Mamba's selective scan", {
    beside: { [scanPeer]: selectiveScanBeside },
    bars: [fasterThan(2, [scanPeer], 1)],
  }).slice(0, 1),
];

type HostInputs = Readonly<Record<string, Input>>;

function hostCase(
  kernel: string,
  { compute }: Operator,
  size: Heads,
  inputs: (size: Heads) => HostInputs,
  more: { readonly bars: readonly Bar[]; readonly beside?: Readonly<Record<string, Operator["compute"]>> },
): BenchmarkCase {
  const { B, L, H, K, V } = size;
  return forwardCase<string>({
    kernel,
    shape: shapeOf(kernel, size),
    mode: "fwd",
    flops: flopsOf(size),
    bytes: 4 * B * L * H * (2 * K + 2 * V),
    rate: "GFLOP/s",
    ...more,
    units: B,
    checkedUnits: 1,
    unitName: "sequences",
    tolerance: { tolerance: 1e-5, unit: "relative" },
    inputs: () => inputs(size),
    compute: (given) => [compute(given)],
  });
}

/** Values of so many sequences of [L, ...rest]. */
const sequences = (B: number, shape: readonly number[], seed: number, low?: number, high?: number): Input => ({
  values: uniformValues(
    shape.reduce((a, b) => a * b, B),
    seed,
    low,
    high,
  ),
  shape: (count) => [count, ...shape],
});

const ssdHostInputs = ({ B, L, H, K, V }: Heads): HostInputs => ({
  x: sequences(B, [L, H, V], 1),
  dt: sequences(B, [L, H], 2, 0.001, 0.1),
  A: { values: uniformValues(H, 3, -16, -1), shape: () => [H], shared: true },
  ones: { values: new Float32Array(K * V).fill(1), shape: () => [K, V], shared: true },
  B: sequences(B, [L, 1, K], 4),
  C: sequences(B, [L, 1, K], 5),
});

const glaHostInputs = ({ B, L, H, K, V }: Heads): HostInputs => ({
  q: sequences(B, [L, H, K], 1),
  k: sequences(B, [L, H, K], 2),
  v: sequences(B, [L, H, V], 3),
  gate: sequences(B, [L, H, K], 4),
});

const stepByStep = "generic scan of the same states";

/** SSD with a decay for each state, which the planner cannot know to be all the same: no products of matrices then. */
function scannedSsd({ x, dt, A, B, C, ones }: Readonly<Record<string, Tensor>>): Tensor {
  const [batch, L, H] = x!.shape as [number, number, number];
  const decay = mul(reshape(exp(mul(dt!, A!)), [batch, L, H, 1, 1]), ones!);
  return matrixStates(C!, B!, mul(x!, reshape(dt!, [batch, L, H, 1])), decay);
}

/** On the cpu device. */
export const matrixStateHostCases: readonly BenchmarkCase[] = [
  hostCase("ssd", ssd, { B: 8, L: 512, H: 8, K: 64, V: 64 }, ssdHostInputs, {
    bars: [fasterThan(3, [stepByStep], 1)],
    beside: { [stepByStep]: scannedSsd },
  }),
  // Eight heads as eight sequences, so that one of them can be compared with the reference.
  hostCase("gla", gla, { B: 8, L: 4096, H: 1, K: 64, V: 64 }, glaHostInputs, { bars: [{ ...atMost(20), threads: 2 }] }),
];
