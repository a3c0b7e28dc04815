/**
 * What a state does far beyond the length it was trained on, and ways to keep it in bounds without training
 * (Chen et al., Stuffed Mamba: State Collapse and State Capacity of RNN-Based Long-Context Modeling, 2024).
 *
 * The paper's released code measures states but does not contain its mitigations: the formulas of {@link reduceRetention}
 * and {@link limitNorm} follow its text and are not checked against an original.
 */
import {
  abs,
  assertNumber,
  assertSettings,
  concat,
  div,
  equal,
  leavesOf,
  mapTree,
  max,
  mean,
  minimum,
  mul,
  ShapeError,
  sliceAxis,
  sqrt,
  square,
  stack,
  sub,
  sum,
  where,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import type { AnyMixer, MixerConfig, Mode } from "./contract.js";
import { runMixer } from "./run-mixer.js";

/** Changes the state between two stretches of a sequence; `position` elements were seen so far. */
export type StateHook = (state: Tree, position: number) => Tree;

/** h <- share h: less is kept of the past, as if every decay were multiplied by `share`, 0..1, once a stretch (Stuffed Mamba's first method). */
export function reduceRetention(share: number): StateHook {
  assertNumber("reduceRetention", "a share", share, { from: 0, to: 1 });
  return (state) => mapTree((h) => (h.dtype === "f32" ? mul(h, share) : h), state);
}

/**
 * h <- h limit / |h| where |h| is above the limit, for the state of each head (axis 1 of leaves [B H ..]) by itself (Stuffed
 * Mamba's second method, state normalization).
 */
export function limitNorm(limit: number): StateHook {
  assertNumber("limitNorm", "a limit", limit, { above: 0, to: Infinity });
  return (state) =>
    mapTree((h) => {
      if (h.dtype !== "f32" || h.shape.length < 3) return h;
      const inner = h.shape.map((_, axis) => axis).slice(2);
      const norm = sqrt(sum(square(h), inner, { keepDims: true }));
      return mul(h, minimum(div(limit, where(equal(norm, 0), 1, norm)), 1));
    }, state);
}

/** What {@link runWithHook} takes beside the mixer's arguments. */
export interface HookOptions {
  /** Applied to the state after every stretch. */
  readonly hook: StateHook;
  /** Elements of a stretch; 1, the default, is after every element. */
  readonly every?: number;
  /** How stretches run; "parallel" by default. */
  readonly mode?: Mode;
  /** Before the first element; the mixer's `initState` by default. */
  readonly state?: Tree;
}

/**
 * Runs a mixer over x [B L D] in stretches, the state changed between them.
 * @returns y [B L D] and the state after the last stretch and its hook
 */
export function runWithHook(
  mixer: AnyMixer,
  config: MixerConfig,
  params: Tree,
  x: Tensor,
  options: HookOptions,
): readonly [Tensor, Tree] {
  assertSettings("runWithHook", options, {
    hook: "function",
    every: { from: 1, whole: true },
    mode: "own",
    state: "own",
  });
  const { hook, every = 1, mode = "parallel", state: initial } = options;
  const L = x.shape[1]!;
  let state = initial ?? mixer.initState(config, x.shape[0]!);
  const outputs: Tensor[] = [];
  for (let start = 0; start < L; start += every) {
    const end = Math.min(L, start + every);
    const [y, next] = runMixer(mixer, config, params, sliceAxis(x, 1, start, end), state, mode);
    outputs.push(y);
    state = hook(next, end);
  }
  return [outputs.length === 1 ? outputs[0]! : concat(outputs, 1), state];
}

/** Statistics of a state [B H ..] at some positions, each [positions H]. */
export type StateStatistics = {
  /** Mean over batch and entries. */
  readonly mean: Tensor;
  /** Variance over batch and entries: a few heads whose variance grows are the sign of a state that collapses. */
  readonly variance: Tensor;
  /** Largest absolute value. */
  readonly largest: Tensor;
};

/**
 * Statistics of the state of each head (axis 1; of a state [B D N] each channel) after every `every` elements.
 * @param options Stretches, and `leaf`: which leaf of the state, in the order of `leavesOf`; by default the one with the most elements.
 * @throws ShapeError if the leaf has no heads.
 */
export function stateStatistics(
  mixer: AnyMixer,
  config: MixerConfig,
  params: Tree,
  x: Tensor,
  options: { readonly every: number; readonly leaf?: number },
): StateStatistics {
  assertSettings("stateStatistics", options, { every: "own", leaf: { from: 0, whole: true } });
  const { every, leaf } = options;
  assertNumber("stateStatistics", "every", every, { from: 1, whole: true });
  const rows: { mean: Tensor; variance: Tensor; largest: Tensor }[] = [];
  runWithHook(mixer, config, params, x, {
    every,
    hook(state) {
      rows.push(statisticsOf(chosen(mixer.id, leavesOf(state), leaf)));
      return state;
    },
  });
  const together = (name: keyof StateStatistics): Tensor => stack(rows.map((row) => row[name]));
  return { mean: together("mean"), variance: together("variance"), largest: together("largest") };
}

function chosen(id: string, leaves: readonly Tensor[], leaf: number | undefined): Tensor {
  const found = leaf === undefined ? [...leaves].sort((a, b) => b.size - a.size)[0] : leaves[leaf];
  if (!found || found.shape.length < 2)
    throw new ShapeError(`${id}: expected a state [B H ..] to measure, got ${found ? String(found) : "none"}`);
  return found;
}

function statisticsOf(h: Tensor): { mean: Tensor; variance: Tensor; largest: Tensor } {
  const axes = h.shape.map((_, axis) => axis).filter((axis) => axis !== 1);
  const average = mean(h, axes);
  const centered = sub(h, mean(h, axes, { keepDims: true }));
  return { mean: average, variance: mean(square(centered), axes), largest: max(abs(h), axes) };
}
