/** The stages of a row kernel: runs along the row, each with the reductions whose operands are known by then. */
import type { LoopKernel, Scalar } from "./loop.js";
import { affinesOf, nodesOf, parts } from "./simplify.js";

export interface RowStage {
  /** Numbers of reductions. */
  readonly reductions: readonly number[];
  /** Numbers of row outputs, all in the last stage. */
  readonly outputs: readonly number[];
  /** Values of points computed here that later stages use. */
  readonly keeps: readonly Scalar[];
  /** Values of points that earlier stages kept. */
  readonly uses: readonly Scalar[];
}

/** Whether reductions use earlier ones, or outputs vary along the row. */
export const isRowKernel = ({ reductions, outputs }: LoopKernel): boolean =>
  outputs.some((o) => o.index) || [...nodesOf(reductions.map((r) => r.value))].some((node) => node.op === "reduced");

/** @param isKept Whether a value is kept for a later stage rather than computed again. */
export function rowStages(kernel: LoopKernel, isKept: (node: Scalar) => boolean): readonly RowStage[] {
  const levels: number[] = [];
  for (const { value } of kernel.reductions)
    levels.push(
      Math.max(-1, ...[...nodesOf([value])].map((node) => (node.op === "reduced" ? levels[node.reduction]! : -1))) + 1,
    );
  const stages = Array.from({ length: Math.max(-1, ...levels) + 1 }, (_, level) => ({
    reductions: levels.flatMap((l, k) => (l === level ? [k] : [])),
    outputs: [] as number[],
    keeps: [] as Scalar[],
    uses: [] as Scalar[],
  }));
  const outputs = kernel.outputs.flatMap(({ index }, k) => (index ? [k] : []));
  if (outputs.length > 0) stages.push({ reductions: [], outputs, keeps: [], uses: [] });

  const varies = variesAlongRow(kernel);
  const madeIn = new Map<Scalar, (typeof stages)[number]>();
  for (const stage of stages) {
    const seen = new Set<Scalar>();
    // What a guard may exclude is not kept: it would be computed where its loads are out of bounds.
    const visit = (node: Scalar, guarded: boolean): void => {
      if (seen.has(node) || !varies(node)) return;
      seen.add(node);
      const made = madeIn.get(node);
      if (made && !guarded && node.op !== "position" && isKept(node)) {
        if (!made.keeps.includes(node)) made.keeps.push(node);
        stage.uses.push(node);
        return;
      }
      if (!made) madeIn.set(node, stage);
      for (const part of parts(node)) visit(part, guarded || node.op === "guard");
    };
    for (const value of stageValues(kernel, stage)) visit(value, false);
  }
  return stages;
}

/** What a stage computes at a point: the values of its reductions, then its outputs. */
export const stageValues = (
  kernel: LoopKernel,
  { reductions, outputs }: Pick<RowStage, "reductions" | "outputs">,
): readonly Scalar[] => [
  ...reductions.map((k) => kernel.reductions[k]!.value),
  ...outputs.map((k) => kernel.outputs[k]!.value),
];

/** Whether a node's value changes along the row. */
export function variesAlongRow(kernel: LoopKernel): (node: Scalar) => boolean {
  const outer = kernel.extents.length;
  const known = new Map<Scalar, boolean>();
  const varies = (node: Scalar): boolean => {
    let result = known.get(node);
    if (result === undefined)
      known.set(
        node,
        (result =
          affinesOf(node).some((index) => index.coefficients.some((c, axis) => axis >= outer && c !== 0)) ||
          parts(node).some(varies)),
      );
    return result;
  };
  return varies;
}
