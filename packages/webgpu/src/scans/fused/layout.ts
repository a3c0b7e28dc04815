/**
 * How the points of a scan are spread over threads. Of the axes beside the recurrence's own, one (or several neighbours) is
 * the channel axis, a thread a channel; at most one lies in a thread's registers, its sums are sums of registers; the others
 * count workgroups, as do segments of the recurrence's axis.
 */
import {
  isAtMostOne,
  nodesOf,
  product,
  type Scalar,
  type ScanKernel,
  type ScanOutput,
  type ScanStep,
  type ScanSum,
} from "@seqmix/tensor/backend";
import { dependence, foursAlong, prepare, productsSentBack, scanRoots, type LinearDecay } from "./expressions.js";
import type { Tuning } from "./tuning.js";

/** A value kept for each state and segment. */
export interface StatePlace {
  readonly buffer: "ends" | "adjoints";
  readonly part: "re" | "im";
}

/** Sums and outputs of the same kept axes and step. */
export interface Group {
  readonly keeps: readonly number[];
  readonly step: ScanStep;
  /** Of totals: the axes that they are sums of. */
  readonly of?: readonly number[] | undefined;
  /** Numbers in the kernel. */
  readonly sums: readonly number[];
  readonly outputs: readonly number[];
  readonly keepsRegister: boolean;
  readonly keepsChannel: boolean;
  /** A value is complete in one thread: outputs are computed where the sums are. Else partial sums go to memory. */
  readonly direct: boolean;
  /** Partial sums a kept point has. */
  readonly partials: number;
  /** Sums over channels that are complete in one workgroup: outputs are computed there. */
  readonly finished: boolean;
  /** By sum, where its partial sums lie if that is in the place of what a segment begins with: one for each state and segment. */
  readonly inStates?: readonly StatePlace[] | undefined;
  readonly keptSize: number;
}

export interface Layout {
  readonly kernel: ScanKernel;
  readonly linear?: LinearDecay;
  readonly base2: ReadonlySet<Scalar>;
  readonly axesOf: (node: Scalar) => number;
  /** Inputs that no step changes and that lie in fours along the register axis: they are read so. */
  readonly fours: ReadonlySet<number>;
  /** See {@link productsSentBack}. */
  readonly sentBack: ReadonlyMap<Scalar, readonly Scalar[]>;
  readonly complex: boolean;
  /** Whether decays may grow, so that a product of them has an exponent of its own; products that are powers anyway have none. */
  readonly grows: boolean;
  readonly exponents: boolean;
  /** Steps. */
  readonly L: number;
  readonly register: number | undefined;
  /** Extent of the register axis, and how much of it a thread has. */
  readonly N: number;
  readonly R: number;
  /** Channel axes, outermost first. */
  readonly channel: readonly number[];
  readonly C: number;
  /** Axes that count workgroups, and the product of their extents. */
  readonly grid: readonly number[];
  readonly gridSize: number;
  /** Threads a workgroup. */
  readonly W: number;
  readonly channelBlocks: number;
  /** Steps of a chunk, of a segment, and segments. */
  readonly T: number;
  readonly segment: number;
  readonly segments: number;
  /** States in all: [grid, N, C]. */
  readonly rows: number;
  readonly groups: readonly Group[];
  /** Whether the pass of the results runs in chunks, n outermost: with an adjoint, or sums over channels. */
  readonly chunked: boolean;
  /** Steps loaded ahead. */
  readonly ahead: number;
  /** Threads of a subgroup, if all have the same; else 0. */
  readonly subgroup: number;
  /** Workgroup memory for the inputs of a segment that is run through before its chunks. */
  readonly sweptBytes: number;
}

/** Values of the register axis that a thread holds at most. */
const MOST_REGISTERS = 16;
/** Bytes of workgroup memory for the inputs of a chunk in the chunked form. */
export const STAGED_BYTES = 2048;

export function layoutOf(given: ScanKernel, tuning: Tuning): Layout {
  const { extents, along } = given;
  const L = extents[along]!;
  const others = extents.map((_, axis) => axis).filter((axis) => axis !== along && extents[axis]! > 1);
  const first = channelAxis(given, others);
  const register = registerAxis(
    given,
    others.filter((axis) => axis !== first),
    first,
  );
  const channel = channelAxes(given, others, first, register);
  const grid = others.filter((axis) => !channel.includes(axis) && axis !== register);
  const prepared = prepare(given, register);
  const extent = (axes: readonly number[]): number => product(axes.map((axis) => extents[axis]!));
  const C = extent(channel);
  const N = register === undefined ? 1 : extents[register]!;
  let R = Math.min(N, MOST_REGISTERS);
  while (N % R !== 0) R--;
  const chunked =
    given.adjoint !== undefined ||
    [...given.sums, ...given.outputs].some(({ keeps }) => channel.some((axis) => !keeps.includes(axis)));
  const complex = given.decay.length === 2;
  const axesOf = dependence(extents);
  const grows = !isAtMostOne(given.decay);

  let W = Math.min(chunked ? tuning.chunkWorkgroup : tuning.workgroup, 2 ** Math.ceil(Math.log2(Math.max(C, 1))));
  let T = Math.min(chunked ? tuning.chunk : tuning.stage, 2 ** Math.ceil(Math.log2(L)));
  if (chunked) {
    const across = given.sums.filter(
      ({ keeps, step }) => step === "each" && keeps.includes(along) && channel.some((axis) => !keeps.includes(axis)),
    ).length;
    if (complex) T = Math.max(1, T / 2);
    // in subgroups, what each found for each state; else a row a sum and step, and what `split` threads find for each state's
    const leavesChannel = (step: ScanStep, keeps: readonly number[]): boolean =>
      channel.some((axis) => !keeps.includes(axis)) &&
      !(step === "each" && keeps.includes(along) && (register === undefined || keeps.includes(register)));
    const inRows =
      tuning.subgroup < 2 || [...given.sums, ...given.outputs].some(({ step, keeps }) => leavesChannel(step, keeps));
    const rows = (): number => (!inRows ? 0 : Math.max(1, across * T) * (W + 1) + R * Math.max(W, across * T));
    const totals = (): number =>
      tuning.subgroup > 1 ? Math.ceil(W / tuning.subgroup) * R * 2 ** Math.ceil(Math.log2(Math.max(1, across * T))) : 0;
    const bytes = (): number => 4 * (rows() + totals()) + STAGED_BYTES + tuning.sweptBytes;
    while (bytes() > tuning.workgroupBytes && W > 32) W /= 2;
    while (bytes() > tuning.workgroupBytes && T > 1) T /= 2;
    while (bytes() > tuning.workgroupBytes && R > 1) R = R % 2 === 0 ? R / 2 : 1;
    while (bytes() > tuning.workgroupBytes && W > 1) W /= 2;
  }
  const channelBlocks = Math.ceil(C / W);
  const gridSize = extent(grid);
  const points = gridSize * (N / R) * channelBlocks * W;
  const wanted = Math.max(1, Math.min(Math.ceil(tuning.threads / points), Math.floor(L / tuning.shortest)));
  const longest = chunked ? tuning.chunks * T : Infinity;
  const segment = Math.min(longest, Math.ceil(Math.ceil(L / wanted) / T) * T);
  const base = {
    ahead: tuning.ahead,
    subgroup: tuning.subgroup,
    sweptBytes: tuning.sweptBytes,
    ...prepared,
    axesOf,
    fours:
      R % 4 === 0
        ? foursAlong(prepared.kernel, register, (node) => (axesOf(node) & (1 << along)) === 0)
        : new Set<number>(),
    sentBack: productsSentBack(prepared.kernel),
    complex,
    grows,
    exponents: grows && !prepared.linear,
    L,
    register,
    N,
    R,
    channel,
    C,
    grid,
    gridSize,
    W,
    channelBlocks,
    T,
    segment,
    segments: Math.ceil(L / segment),
    rows: gridSize * N * C,
    chunked,
  };
  return { ...base, groups: groupsOf(base) };
}

/** The axis along which most is read and written next to each other. */
function channelAxis(kernel: ScanKernel, others: readonly number[]): number | undefined {
  const { extents } = kernel;
  const score = extents.map(() => 0);
  const count = (coefficients: readonly number[]): void => {
    const size = product(extents.filter((_, k) => coefficients[k] !== 0));
    coefficients.forEach((c, k) => (score[k]! += Math.abs(c) === 1 && extents[k]! > 1 ? size : 0));
  };
  for (const node of nodesOf(scanRoots(kernel))) if (node.op === "load") count(node.index.coefficients);
  for (const { keeps } of kernel.outputs) {
    const innermost = keeps.filter((axis) => extents[axis]! > 1).at(-1);
    count(extents.map((_, axis) => (axis === innermost ? 1 : keeps.includes(axis) ? 2 : 0)));
  }
  let best: number | undefined;
  for (const axis of others)
    if (
      best === undefined ||
      score[axis]! > score[best]! ||
      (score[axis] === score[best] && extents[axis]! > extents[best]!)
    )
      best = axis;
  return best;
}

/**
 * The axis that sums at every step leave out most often; the shorter of two. Without such sums, one that fits into registers
 * and that several inputs of every step and channel do not have: a thread prepares them once for all its states.
 */
function registerAxis(
  kernel: ScanKernel,
  candidates: readonly number[],
  first: number | undefined,
): number | undefined {
  const { extents, sums, along } = kernel;
  const summed = sums.some(({ step, of }) => !of && step === "each");
  const inputs = [...nodesOf(scanRoots(kernel))].flatMap((node) =>
    node.op === "load" && node.index.coefficients[along] !== 0 && node.index.coefficients[first ?? along] !== 0
      ? [node.index.coefficients]
      : [],
  );
  const without = (axis: number): number =>
    extents[axis]! <= MOST_REGISTERS
      ? Math.max(0, inputs.filter((coefficients) => coefficients[axis] === 0).length - 1)
      : 0;
  let best: number | undefined,
    most = 0;
  for (const axis of candidates) {
    const count = summed
      ? sums.filter(({ keeps, step, of }) => !of && step === "each" && !keeps.includes(axis)).length
      : without(axis);
    if (count > most || (count === most && count > 0 && extents[axis]! < extents[best!]!)) [best, most] = [axis, count];
  }
  return best;
}

/** Channel axes: more of them where one is short, as long as all sums keep or leave them together. */
function channelAxes(
  { extents, sums, outputs }: ScanKernel,
  others: readonly number[],
  first: number | undefined,
  register: number | undefined,
): number[] {
  if (first === undefined) return [];
  const channel = [first];
  for (const axis of others.toReversed()) {
    if (axis === register || channel.includes(axis)) continue;
    if (product(channel.map((k) => extents[k]!)) >= 64) break;
    if ([...sums, ...outputs].every(({ keeps }) => keeps.includes(axis) === keeps.includes(first)))
      channel.unshift(axis);
  }
  return channel;
}

/** The total that an output is computed from, if it is. */
function totalIn({ sums }: ScanKernel, { value }: ScanOutput): ScanSum | undefined {
  const node = [...nodesOf([value])].find((each) => each.op === "reduced" && sums[each.reduction]!.of);
  return node?.op === "reduced" ? sums[node.reduction] : undefined;
}

/**
 * Whether the threads of a pass in chunks can take the totals: each has channels that are kept, and whole sums over its
 * states to compute a total's values from.
 */
export function takesTotals({ kernel, chunked, channel, register, N, R }: Layout): boolean {
  return (
    chunked &&
    N === R &&
    kernel.sums.every(
      ({ keeps, of }) =>
        !of ||
        (of.includes(kernel.along) &&
          (register === undefined || !of.includes(register)) &&
          channel.every((axis) => keeps.includes(axis) && of.includes(axis))),
    )
  );
}

export function groupsOf(layout: Omit<Layout, "groups">): Group[] {
  const { kernel, register, channel, grid, N, R, channelBlocks, segments, chunked, complex } = layout;
  const { extents, along } = kernel;
  const byKey = new Map<string, Pick<Group, "keeps" | "step" | "of"> & { sums: number[]; outputs: number[] }>();
  const add = (
    kind: "sums" | "outputs",
    { keeps, step, of }: Pick<Group, "keeps" | "step" | "of">,
    k: number,
  ): void => {
    const key = `${step} ${keeps.join()} ${of?.join()}`;
    let group = byKey.get(key);
    if (!group) byKey.set(key, (group = { keeps, step, of, sums: [], outputs: [] }));
    group[kind].push(k);
  };
  kernel.sums.forEach((sum, k) => add("sums", sum, k));
  kernel.outputs.forEach((output, k) => add("outputs", { ...output, of: totalIn(kernel, output)?.of }, k));
  const inTotals = new Set(
    [...nodesOf(kernel.sums.flatMap(({ of, value }) => (of ? [value] : [])))].flatMap((node) =>
      node.op === "reduced" ? [node.reduction] : [],
    ),
  );
  // A chunked segment's thread reads what it begins with once: then that memory is free.
  const parts = complex ? (["re", "im"] as const) : (["re"] as const);
  const free: StatePlace[] =
    chunked && segments > 1
      ? (kernel.adjoint ? (["ends", "adjoints"] as const) : (["ends"] as const)).flatMap((buffer) =>
          parts.map((part) => ({ buffer, part })),
        )
      : [];
  return [...byKey.values()]
    .filter(({ outputs, sums }) => outputs.length > 0 || sums.some((j) => inTotals.has(j)))
    .map((group) => {
      const { keeps, step, of } = group;
      // a total is the same for all values of the register axis: one of them takes it
      const keepsRegister = !of && (register === undefined || keeps.includes(register));
      const keepsChannel = channel.every((axis) => keeps.includes(axis));
      const partials =
        (keepsRegister || of ? 1 : N / R) *
        (keepsChannel ? 1 : channelBlocks) *
        product(grid.filter((axis) => !keeps.includes(axis)).map((axis) => extents[axis]!)) *
        (step !== "each" || keeps.includes(along) ? 1 : segments);
      const alone = partials === 1 && (step !== "each" || keeps.includes(along));
      const fits =
        step === "each" &&
        !keeps.includes(along) &&
        keepsRegister &&
        keepsChannel &&
        group.sums.length > 0 &&
        group.sums.length <= free.length;
      return {
        ...group,
        ...(fits && { inStates: free.splice(0, group.sums.length) }),
        keepsRegister,
        keepsChannel,
        partials,
        direct: alone && keepsChannel,
        finished: alone && !keepsChannel && step === "each",
        keptSize: product(keeps.map((axis) => extents[axis]!)),
      };
    });
}
