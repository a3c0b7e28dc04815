/** Which axis of a kernel the lanes of a vector run along, and how its work is divided. */
import type { LoopKernel } from "../../../ir/loop.js";
import { nodesOf, product, roots } from "../../../ir/simplify.js";

export interface LoopPlan {
  /**
   * map: no reduction. along: lanes run along a reduced axis and are combined at the end.
   * across: lanes are neighbouring outputs, each with its own accumulator.
   */
  readonly kind: "map" | "along" | "across";
  /** Number of the axis lanes run along; -1 if there is no axis at all. */
  readonly axis: number;
  /** Points of the vector axis in a unit of work (map and across). */
  readonly block: number;
  /** Axis and number of rows taken together, for loads that are contiguous along that axis and not the vector axis (map). */
  readonly tile?: { readonly axis: number; readonly rows: number };
  /** Units of work. */
  readonly units: number;
  /** Estimated vector operations of a unit. */
  readonly work: number;
}

/** Points of the vector axis in a unit: enough to make a unit's overhead vanish, few enough to share rows among threads. */
const MAP_BLOCK = 4096;
const ACROSS_BLOCK = 64;
/** Rows that share the cache lines of a transposing load. */
const TILE = 16;

/** Estimated costs in vector operations. */
const SPLAT = 0.25,
  CONTIGUOUS = 1,
  LANES = 5,
  ROW = 10,
  COMBINE = 20;

export function planLoop(kernel: LoopKernel): LoopPlan {
  const { extents, reduceExtents } = kernel;
  const all = [...extents, ...reduceExtents];
  const nodes = [...nodesOf(roots(kernel))];
  const loads = nodes.flatMap((node) => (node.op === "load" ? [node] : []));
  const reduced = product(reduceExtents);
  const vectors = (axis: number): number => Math.ceil((all[axis] as number) / 4);

  /** Of computing all expressions at one point, were the vectors full, times the lanes lost at the end. */
  const perPoint = (axis: number): number => {
    let cost = 1 + 0.5 * nodes.length;
    for (const { index, gather } of loads) {
      const c = index.coefficients[axis] as number;
      cost +=
        gather !== undefined &&
        gather.some((g) =>
          [...nodesOf([g.value])].some(
            (n) => (n.op === "load" || n.op === "position") && n.index.coefficients[axis] !== 0,
          ),
        )
          ? LANES + 2
          : c === 0
            ? SPLAT
            : Math.abs(c) === 1
              ? CONTIGUOUS
              : LANES;
    }
    for (const { index } of kernel.outputs) if (index) cost += index.coefficients[axis] === 1 ? CONTIGUOUS : LANES;
    return (cost * 4 * vectors(axis)) / (all[axis] as number);
  };
  const store = (axis: number): number => (axis === extents.length - 1 ? CONTIGUOUS : LANES) * kernel.outputs.length;

  interface Candidate {
    readonly kind: LoopPlan["kind"];
    readonly axis: number;
    readonly cost: number;
  }
  const candidates: Candidate[] = [];
  if (kernel.reductions.length === 0) {
    extents.forEach((_, axis) =>
      candidates.push({ kind: "map", axis, cost: perPoint(axis) + store(axis) + ROW / vectors(axis) }),
    );
  } else {
    extents.forEach((_, axis) =>
      candidates.push({ kind: "across", axis, cost: perPoint(axis) + (store(axis) + ROW) / reduced }),
    );
    reduceExtents.forEach((_, k) => {
      const axis = extents.length + k;
      candidates.push({ kind: "along", axis, cost: perPoint(axis) + ROW / vectors(axis) + (4 * COMBINE) / reduced });
    });
  }
  // The later of equal axes: it is the one whose neighbours are close in memory.
  const best = candidates.reduceRight<Candidate>(
    (a, b) => (b.cost < a.cost ? b : a),
    candidates.at(-1) ?? { kind: "map", axis: -1, cost: 1 },
  );

  const points = product(extents);
  if (best.kind === "along")
    return { kind: "along", axis: best.axis, block: 0, units: points, work: (reduced * best.cost) / 4 + COMBINE };
  const length = best.axis < 0 ? 1 : (extents[best.axis] as number);
  const limit = best.kind === "map" ? MAP_BLOCK : ACROSS_BLOCK;
  const block = length > limit ? limit : length;
  const blocks = Math.ceil(length / block);
  const rows = points / length;
  if (best.kind === "across") {
    return {
      kind: "across",
      axis: best.axis,
      block,
      units: rows * blocks,
      work: (block * best.cost * reduced) / 4 + ROW,
    };
  }
  const plan = { kind: "map", axis: best.axis, block } as const;
  const work = (block * best.cost) / 4 + ROW;
  const tile = extents.findIndex(
    (extent, axis) =>
      axis !== best.axis &&
      extent >= 4 &&
      loads.some(
        ({ index, gather }) =>
          gather === undefined &&
          Math.abs(index.coefficients[axis] as number) === 1 &&
          Math.abs(index.coefficients[best.axis] as number) > 1,
      ),
  );
  if (tile < 0) return { ...plan, units: rows * blocks, work };
  const tiles = Math.ceil((extents[tile] as number) / TILE);
  return {
    ...plan,
    tile: { axis: tile, rows: TILE },
    units: (rows / (extents[tile] as number)) * tiles * blocks,
    work: work * TILE,
  };
}
