/** Softmax attention, WKV of RWKV-4 and a GRU on a large GPU, at the sizes that other libraries were timed at. */
import { scaledDotProductAttention } from "@seqmix/attention";
import { kernels, mixers } from "@seqmix/catalog";
import { runMixer } from "@seqmix/mixer";
import {
  cast,
  exp,
  foldIn,
  iota,
  key,
  lessEqual,
  matmul,
  mul,
  neg,
  normal,
  softmax,
  transpose,
  vjp,
  where,
  type Tensor,
} from "@seqmix/tensor";
import { atMost, fasterThan, type Bar } from "../bars.js";
import type { BenchmarkCase } from "../contestant.js";
import { deviceCase } from "../device-case.js";
import { withoutHalf } from "../gpu.js";

const draw = (name: string, shape: readonly number[]): Tensor => normal(foldIn(key(13), name), shape);

type Inputs = Readonly<Record<string, Tensor>>;

/** Bars of the passes that are measured. */
type Bars = Partial<Readonly<Record<"fwd" | "fwd+bwd", readonly Bar[]>>>;

/** An operator with its bars. */
interface Operator {
  readonly kernel: string;
  readonly shape: string;
  readonly flops: number;
  readonly bytes: number;
  readonly reference: string;
  readonly tolerance: number;
  readonly tf32Tolerance?: number;
  readonly half?: boolean;
  readonly modes: Bars;
  /** In their place where products of f32 are of tf32. */
  readonly tf32?: Bars;
  inputs(): Inputs;
  /** Another way to compute the same, which takes turns. */
  readonly beside?: { readonly name: string; compute(inputs: Inputs): Tensor };
  /** The same at a size that the reference computes whole. */
  readonly smaller: { readonly size: string; inputs(): Inputs };
  compute(inputs: Inputs): Tensor;
}

/** One case a mode; the cotangent is an input `dy`, and the backward pass counts as twice the forward one. */
function casesOf(operator: Operator): BenchmarkCase[] {
  const { modes, tf32, inputs, smaller, compute, flops, bytes, half, beside, ...facts } = operator;
  return (["fwd", "fwd+bwd"] as const).flatMap((mode) => {
    const bars = modes[mode];
    if (!bars) return [];
    const passes = mode === "fwd" ? 1 : 3;
    return [
      deviceCase({
        ...facts,
        ...(half && { dtype: "f16", missing: withoutHalf }),
        mode,
        rate: "GFLOP/s",
        flops: passes * flops,
        bytes: passes * bytes,
        bars,
        ...(tf32?.[mode] && { tf32Bars: tf32[mode] }),
        inputs,
        smaller,
        units: { count: 1, checked: 0, name: "sequences", inputAxis: {}, outputAxis: [] },
        compute: (given) => passesOf(compute, mode, given),
        ...(beside && {
          compiled: true,
          beside: { [beside.name]: { inputs, compute: (given: Inputs) => passesOf(beside.compute, mode, given) } },
        }),
      }),
    ];
  });
}

/** The result, and with "fwd+bwd" the cotangents of all inputs but `dy`. */
function passesOf(compute: (inputs: Inputs) => Tensor, mode: "fwd" | "fwd+bwd", { dy, ...own }: Inputs): Tensor[] {
  if (mode === "fwd") return [compute(own)];
  const [y, pullBack] = vjp(compute, own);
  return [y, ...Object.values(pullBack(dy!))];
}

interface Heads {
  readonly B: number;
  readonly L: number;
  readonly H: number;
  readonly D: number;
}

const named = ({ B, L, H, D }: Heads): string => `B${B} L${L} H${H} D${D}`;

function attentionInputs({ B, L, H, D }: Heads, half: boolean): Inputs {
  const operand = (name: string): Tensor => (half ? cast(draw(name, [B, H, L, D]), "f16") : draw(name, [B, H, L, D]));
  return { q: operand("q"), k: operand("k"), v: operand("v"), dy: draw("dy", [B, H, L, D]) };
}

const causal = (
  heads: Heads,
  modes: Operator["modes"],
  reference: string,
  { half = false, ...more }: Partial<Pick<Operator, "half" | "beside" | "tf32">> = {},
): BenchmarkCase[] => {
  const { B, L, H, D } = heads;
  const small = { B: 1, L: 150, H: 2, D };
  return casesOf({
    kernel: "attention",
    shape: named(heads),
    flops: 2 * B * H * L * L * D,
    bytes: B * H * L * D * (half ? 10 : 16),
    reference,
    tolerance: half ? 5e-3 : 1e-5,
    tf32Tolerance: 5e-3,
    half,
    ...more,
    modes,
    inputs: () => attentionInputs(heads, half),
    smaller: { size: named(small), inputs: () => attentionInputs(small, half) },
    compute: ({ q, k, v }) =>
      scaledDotProductAttention({ q: q!, k: k!, v: v! }, { causal: true, window: 0, alibi: false, scale: D ** -0.5 })
        .out,
  });
};

const plainCode = "plain tensor code";

/** softmax(q k^T / sqrt(D)) v over the keys that are seen, with all scores in memory. */
function composedAttention({ q, k, v }: Inputs): Tensor {
  const [L, D] = q!.shape.slice(2) as [number, number];
  const scores = mul(matmul(q!, transpose(k!)), D ** -0.5);
  const seen = lessEqual(iota([1, 1, L, L], 3), iota([1, 1, L, L], 2));
  return matmul(softmax(where(seen, scores, -1e30), -1), v!);
}

/** On the cpu device, beside the same as plain tensor code. */
export const attentionHostCases: readonly BenchmarkCase[] = causal(
  { B: 8, L: 256, H: 4, D: 32 },
  { fwd: [fasterThan(2, [plainCode], 2)], "fwd+bwd": [fasterThan(2, [plainCode], 2)] },
  "plain tensor code in turns",
  { beside: { name: plainCode, compute: composedAttention } },
);

const wkvKernel = kernels.find(({ record }) => record.name === "wkv")!;
const gru = mixers.find(({ id }) => id === "gru")!;

interface Channels {
  readonly B: number;
  readonly L: number;
  readonly C: number;
}

const wkvInputs = ({ B, L, C }: Channels): Inputs => ({
  w: neg(exp(draw("w", [C]))),
  u: draw("u", [C]),
  k: draw("k", [B, L, C]),
  v: draw("v", [B, L, C]),
  dy: draw("dy", [B, L, C]),
});

const wkvCases = ({ B, L, C }: Channels, forward: number, both: number, reference: string): BenchmarkCase[] => {
  const dims = { B, L, C };
  return casesOf({
    kernel: "wkv",
    shape: `B${B} L${L} C${C}`,
    ...wkvKernel.record.cost(dims, undefined, new Set(["w", "u", "k", "v"])),
    reference,
    tolerance: 1e-4,
    modes: { fwd: [atMost(forward)], "fwd+bwd": [atMost(both)] },
    inputs: () => wkvInputs(dims),
    smaller: { size: "B2 L300 C40", inputs: () => wkvInputs({ B: 2, L: 300, C: 40 }) },
    compute: (given) => wkvKernel(given, undefined)["y"]!,
  });
};

const gruConfig = (D: number): typeof gru.config => Object.assign({}, gru.config, { dModel: D });
const gruInputs = (B: number, L: number, D: number): Inputs => ({
  ...(gru.init(gruConfig(D), key(14)) as Inputs),
  x: draw("x", [B, L, D]),
  dy: draw("dy", [B, L, D]),
});

/** A GRU's step is a product of a few rows with all its weights; positions follow each other. */
const gruCases = (B: number, L: number, D: number): BenchmarkCase[] =>
  casesOf({
    kernel: "gru",
    shape: `B${B} L${L} D${D}`,
    flops: 12 * B * L * D * D,
    bytes: 4 * (2 * B * L * D + 6 * D * D),
    reference: "H200: cuDNN by torch 26.8 ms in f32",
    tolerance: 1e-4,
    tf32Tolerance: 1e-2,
    modes: { "fwd+bwd": [] },
    inputs: () => gruInputs(B, L, D),
    smaller: { size: "B2 L20 D32", inputs: () => gruInputs(2, 20, 32) },
    compute: ({ x, ...params }) => runMixer(gru, gruConfig(x!.shape[2]!), params, x!)[0],
  });

/** On a large GPU; beside them what torch takes there. */
export const attentionCases: readonly BenchmarkCase[] = [
  ...causal(
    { B: 8, L: 2048, H: 16, D: 128 },
    { fwd: [atMost(2.2)], "fwd+bwd": [atMost(9.5)] },
    "H200: torch 3.221 ms in f32; with backward 13.52 ms",
    { tf32: { fwd: [atMost(0.9)], "fwd+bwd": [atMost(4)] } },
  ),
  ...causal(
    { B: 8, L: 2048, H: 16, D: 128 },
    { fwd: [atMost(0.7)], "fwd+bwd": [atMost(3)] },
    "H200: torch 0.301 ms in f16; with backward 1.207 ms",
    { half: true },
  ),
  ...causal({ B: 1, L: 16384, H: 16, D: 128 }, { fwd: [atMost(16)] }, "H200: torch 24.02 ms in f32", {
    tf32: { fwd: [atMost(6.5)] },
  }),
  ...causal({ B: 1, L: 16384, H: 16, D: 128 }, { fwd: [atMost(5)] }, "H200: torch 1.977 ms in bf16", {
    half: true,
  }),
  ...wkvCases(
    { B: 8, L: 2048, C: 2048 },
    0.35,
    1.1,
    "H200: the CUDA kernel of RWKV-4 1.396 ms; with backward 2.716 ms",
  ),
  ...wkvCases({ B: 1, L: 65536, C: 2048 }, 1.5, 4.5, "H200: the CUDA kernel of RWKV-4 34.8 ms; with backward 74.1 ms"),
  ...gruCases(8, 1024, 512),
];
