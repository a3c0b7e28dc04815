/**
 * Channels whose states neighbouring threads share: each thread has some values of the register axis. So many threads run
 * then that the recurrence goes from end to end in one piece, without runs through segments before it. What all states of a
 * step need is prepared by one of the channel's threads, each in its turn, which also finishes what the states sum up to.
 */
import { nodesOf, type Scalar, type ScanKernel } from "@seqmix/tensor/backend";
import { affineText } from "../../wgsl/values.js";
import { ALL, foursAlong, frontier, scanRoots } from "./expressions.js";
import { groupsOf, layoutOf, type Group, type Layout } from "./layout.js";
import { fourOf, hoist, place, timeText, write, type Scope, type Writer } from "./scope.js";
import type { Tuning } from "./tuning.js";

type Load = Scalar & { readonly op: "load" };

export interface Lanes {
  /** One segment; `R` is the whole register axis, `W` the threads of a workgroup. */
  readonly layout: Layout;
  /** Threads of a channel, a power of two, and values of the register axis that each has, a multiple of four. */
  readonly lanes: number;
  readonly own: number;
  /** Channels of a subgroup. */
  readonly together: number;
  /** Steps of a round (of a chunk, with an adjoint), and of those that states are computed again for at a time. */
  readonly round: number;
  readonly again: number;
}

/** The forms of a kernel's results and, with an adjoint, of the pass before that finds the states to keep. */
export interface LanesForms {
  readonly results: Lanes;
  readonly starts?: Lanes;
}

/** Undefined where a kernel has no such form, or threads enough without. */
export function lanesOf(kernel: ScanKernel, tuning: Tuning): LanesForms | undefined {
  const { own, chunkOwn, least, round, chunk, again, workgroup, chunkWorkgroup, workgroupBytes } = tuning.lanes;
  const { subgroup } = tuning;
  if (subgroup < 2 || kernel.decay.length === 2) return undefined;
  const base = layoutOf(kernel, { ...tuning, threads: 1, chunks: Infinity, workgroupBytes: Infinity });
  const { register, N, C, L, gridSize } = base;
  const points = gridSize * C;
  // kept states are to be no more than what is read of every step and channel
  if (register === undefined || N % 8 !== 0 || (kernel.adjoint && N > chunk) || readsByOnes(base)) return undefined;
  const sized = (W: number, states: number, steps: number): Lanes | undefined => {
    const each = Math.min(states, N / 2);
    const lanes = N / each;
    if (!Number.isInteger(Math.log2(lanes)) || lanes > subgroup || steps % lanes !== 0) return undefined;
    if (L % steps !== 0) return steps > SHORTEST_ROUND ? sized(W, states, steps / 2) : undefined;
    const changed = { ...base, R: N, W, channelBlocks: Math.ceil((C * lanes) / W) };
    const layout: Layout = { ...changed, groups: groupsOf(changed) };
    if (bytesOfRounds(layout, steps) > workgroupBytes) return W > subgroup ? sized(W / 2, states, steps) : undefined;
    if (!layout.groups.every((group) => isServed(layout, group))) return undefined;
    return { layout, lanes, own: each, together: subgroup / lanes, round: steps, again: Math.max(again, lanes) };
  };
  const forward = sized(workgroup, own, round);
  if (!forward || points * forward.lanes < least) return undefined;
  if (!kernel.adjoint) return points < tuning.threads ? { results: forward } : undefined;
  const results = sized(chunkWorkgroup, chunkOwn, chunk);
  return results && results.round === chunk ? { results, starts: forward } : undefined;
}

/** Rounds are not cut below so many steps. */
const SHORTEST_ROUND = 8;

/** Whether the form has a place for the sums of a group. */
function isServed({ kernel, chunked }: Layout, group: Group): boolean {
  const { keeps, step, of, keepsRegister, keepsChannel, direct } = group;
  if (kernel.adjoint === undefined) return !chunked && direct && (keepsRegister || step === "each");
  if (of) return true;
  if (step !== "each") return false;
  return keepsChannel || (keepsRegister && keeps.includes(kernel.along));
}

/** The sums of a group run over all steps. */
export const runs = ({ kernel }: Layout, { step, keeps }: Group): boolean =>
  step === "each" && !keeps.includes(kernel.along);

/** What the threads of a pass have in common: their place, and what no step changes. */
export interface Frame extends Lanes {
  readonly writer: Writer;
  readonly axes: readonly string[];
  readonly fixed: Scope;
  /** By value of the thread's register axis, what no step changes for it. */
  readonly perState: readonly Scope[];
  /** Inputs that are read four neighbours of the register axis at a time. */
  readonly fours: ReadonlySet<number>;
  /** Reads of every step that all channels share, in the order of their workgroup memory. */
  readonly staged: readonly string[];
  readonly stagedLoads: readonly Load[];
  /** Reads of every step and channel, which are asked for a round before. */
  readonly streamed: readonly Load[];
  /** What is prepared once for all states of a step. */
  readonly shared: readonly Scalar[];
}

/** @param roots All that the pass computes. @param ofStates Those that it computes for every state. */
export function startFrame(
  form: Lanes,
  writer: Writer,
  roots: readonly Scalar[],
  ofStates: readonly Scalar[],
): { readonly frame: Frame; readonly lines: string[] } {
  const { layout, lanes, own, together } = form;
  const { axesOf, kernel, W } = layout;
  const along = 1 << kernel.along,
    register = 1 << layout.register!;
  const { lines, axes } = place(layout, true, [
    `let mine = i32(subgroupMember) % ${lanes};`,
    `let neighbours = subgroupMember - u32(mine);`,
    `let own = block * ${W / lanes} + i32(subgroup) * ${together} + i32(subgroupMember) / ${lanes};`,
    `let n0 = mine * ${own};`,
  ]);
  for (let bit = 1; bit < lanes * together; bit *= 2) lines.push(`let upper${bit} = (subgroupMember & ${bit}u) != 0u;`);
  const fixed = hoist(
    { writer, axes, known: new Map() },
    roots,
    (node) => (axesOf(node) & (along | register)) === 0,
    lines,
  );
  const loads = [...nodesOf(roots)].filter((node) => node.op === "load");
  const fours = foursAlong(kernel, layout.register, () => true);
  const staged = sharedByChannels(layout, loads, fours);
  const frame: Omit<Frame, "perState"> = {
    ...form,
    writer,
    axes,
    fixed,
    fours,
    staged: [...staged.keys()],
    stagedLoads: [...staged.values()],
    streamed: loads.filter((load) => !load.gather && (axesOf(load) & along) !== 0 && (axesOf(load) & register) === 0),
    shared: frontier(
      ofStates,
      (node) =>
        node.dtype === "f32" && axesOf(node) !== ALL && (axesOf(node) & along) !== 0 && (axesOf(node) & register) === 0,
    ),
  };
  const reads = new Map<string, string>();
  const perState = Array.from({ length: own }, (_, k) => {
    const scope: Scope = { ...fixed, axes: axesAt(frame, "0", k) };
    const loaded = foursOf(frame, { time: "0" }, k, reads, lines);
    return hoist(scope, ofStates, (node) => (axesOf(node) & along) === 0, lines, loaded);
  });
  return { frame: { ...frame, perState }, lines };
}

/** Of the loads in fours, those of every step that all channels read, by what they read. */
function sharedByChannels(
  { kernel, axesOf, channel }: Layout,
  loads: readonly Load[],
  fours: ReadonlySet<number>,
): ReadonlyMap<string, Load> {
  const along = 1 << kernel.along,
    channels = channel.reduce((bits, axis) => bits | (1 << axis), 0);
  return new Map(
    loads
      .filter((load) => fours.has(load.input) && (axesOf(load) & along) !== 0 && (axesOf(load) & channels) === 0)
      .map((load) => [keyOf(load), load] as const),
  );
}

/** Whether what all channels read of a step and its states is not read in fours, so that each thread would read it for itself. */
function readsByOnes({ kernel, axesOf, channel, register }: Layout): boolean {
  const fours = foursAlong(kernel, register, () => true);
  const both = (1 << kernel.along) | (1 << register!),
    channels = channel.reduce((bits, axis) => bits | (1 << axis), 0);
  return [...nodesOf(scanRoots(kernel))].some(
    (node) =>
      node.op === "load" && (axesOf(node) & both) === both && (axesOf(node) & channels) === 0 && !fours.has(node.input),
  );
}

/** Bytes of workgroup memory of two rounds: what all channels read, and with an adjoint the sums over channels. */
function bytesOfRounds(layout: Layout, steps: number): number {
  const { kernel, register, groups, N, W, subgroup } = layout;
  const loads = [...nodesOf(scanRoots(kernel))].filter((node) => node.op === "load");
  const staged = sharedByChannels(
    layout,
    loads,
    foursAlong(kernel, register, () => true),
  ).size;
  const sums = groups.reduce((count, group) => count + (group.of || group.keepsChannel ? 0 : group.sums.length), 0);
  return 2 * steps * N * 4 * (staged + (W / subgroup) * sums);
}

/** Texts of the axes at a time, for a value of the thread's register axis. */
export const axesAt = (
  { axes, layout: { kernel, register } }: Omit<Frame, "perState">,
  time: string,
  k: number,
): string[] =>
  axes.map((text, axis) =>
    axis === kernel.along ? time : axis === register ? (k === 0 ? "n0" : `(n0 + ${k})`) : text,
  );

/**
 * Reads of four neighbours at a time: from workgroup memory what all channels share of step `s` of the round, if it is one.
 * @param reads Those already written to `lines`.
 */
export function foursOf(
  frame: Omit<Frame, "perState">,
  { time, s }: { readonly time: string; readonly s?: number },
  k: number,
  reads: Map<string, string>,
  lines: string[],
): NonNullable<Scope["loaded"]> {
  const { fours, staged, writer, layout } = frame;
  const quarter = k - (k % 4);
  const read = fourOf(writer, fours, axesAt(frame, time, quarter), k, reads, lines);
  return (load) => {
    const place = s === undefined || !fours.has(load.input) ? -1 : staged.indexOf(keyOf(load));
    if (place < 0) return read(load);
    const at = `staged[stagedAt + ${((s! * staged.length + place) * layout.N + quarter) / 4}]`;
    const four = reads.get(at) ?? writer.named(at, lines);
    reads.set(at, four);
    return `${four}.${"xyzw"[k % 4]}`;
  };
}

/** Loads that read the same. */
const keyOf = ({ input, index }: Load): string =>
  `${input} ${affineText(
    index,
    index.coefficients.map((_, k) => `i${k}`),
  )}`;

/** Statements that bring what all channels share to workgroup memory, a round ahead; two rounds have their places in turn. */
export interface Staged {
  readonly before: readonly string[];
  readonly head: readonly string[];
  /** The statements before the barrier that ends a round; behind it `side` is to change. */
  readonly foot: readonly string[];
}

/** @param first Where the first round begins; the next begins at `after`. */
export function stageSteps(frame: Frame, first: string): Staged {
  const { stagedLoads, layout, round, writer, own, fixed } = frame;
  const { N, W, kernel, register, L } = layout;
  if (stagedLoads.length === 0) return { before: [], head: [], foot: [] };
  const fours = N / 4;
  const each = round * fours,
    size = each * stagedLoads.length;
  writer.module.push(`var<workgroup> staged: array<vec4<f32>, ${2 * size}>;`);
  const held = Array.from({ length: Math.ceil(size / W) }, () => writer.fresh());
  const fetch = (start: string): string[] =>
    held.flatMap((name, m) => [
      "{",
      `  let x = i32(thread) + ${m * W};`,
      `  let time = ${timeText(layout, `min(${start} + x % ${each} / ${fours}, ${L - 1})`)};`,
      `  let n = x % ${fours} * 4;`,
      ...stagedLoads.map(({ input, index }, l) => {
        const axes = fixed.axes.map((text, axis) => (axis === kernel.along ? "time" : axis === register ? "n" : text));
        const x = writer.bind(input, `x${input}`, "read", "vec4<f32>");
        return `  ${l === 0 ? "" : "else "}if (x < ${(l + 1) * each}) { ${name} = ${x}[${affineText(index, axes)} / 4]; }`;
      }),
      "}",
    ]);
  const store = (side: string): string[] =>
    held.map((name, m) => {
      const x = `i32(thread) + ${m * W}`;
      // as [step, load, fours]
      const place = `${side} * ${size} + ((${x}) % ${each} / ${fours} * ${stagedLoads.length} + (${x}) / ${each}) * ${fours} + (${x}) % ${fours}`;
      return `if (${x} < ${size}) { staged[${place}] = ${name}; }`;
    });
  return {
    before: [...held.map((name) => `var ${name}: vec4<f32>;`), ...fetch(first), ...store("0"), "workgroupBarrier();"],
    head: [`let stagedAt = side * ${size} + mine * ${own / 4};`, ...fetch("after")],
    foot: store("(1 - side)"),
  };
}

/** What the thread reads ahead and prepares, `steps / lanes` steps of a round. */
export interface Prepared {
  /** Statements before the first round. */
  readonly before: readonly string[];
  /** Statements at the head of a round that begins at `start`; `after` is where the next one does. */
  readonly head: readonly string[];
  /** By step of the thread's own, what is known there. */
  readonly scopes: readonly Scope[];
  /** What a step of the round gets from the thread that prepared it, by node: the statements go to `lines`. */
  at(step: number, nodes: readonly Scalar[], lines: string[]): Map<Scalar, string>;
}

/** @param first Where the first round begins. */
export function prepareSteps(frame: Frame, first: string): Prepared {
  const { layout, lanes, round, writer, streamed, shared, fixed } = frame;
  const { axesOf } = layout;
  const register = 1 << layout.register!;
  const before: string[] = [],
    head: string[] = [];
  const count = round / lanes;
  const timeOf = (start: string, j: number): string => timeText(layout, `${start} + mine + ${j * lanes}`);
  const unique = new Map(streamed.map((load) => [keyOf(load), load]));
  const ahead = Array.from({ length: count }, () => new Map<string, string>());
  const fetch = (start: string, lines: string[], how: (key: string, j: number, value: string) => string): void =>
    ahead.forEach((_, j) => {
      for (const [key, load] of unique) {
        const [value] = write({ ...fixed, axes: axesAt(frame, timeOf(start, j), 0) }, [load], lines);
        lines.push(how(key, j, value!));
      }
    });
  fetch(first, before, (key, j, value) => {
    const name = writer.fresh();
    ahead[j]!.set(key, name);
    return `var ${name} = ${value};`;
  });
  const now = ahead.map((names) => new Map([...names].map(([key, name]) => [key, writer.named(name, head)] as const)));
  fetch("after", head, (key, j, value) => `${ahead[j]!.get(key)} = ${value};`);
  const scopes = now.map((names, j) =>
    hoist(
      {
        ...fixed,
        axes: axesAt(frame, timeOf("start", j), 0),
        loaded: (load) => (unique.has(keyOf(load)) ? names.get(keyOf(load)) : undefined),
      },
      shared,
      (node) => (axesOf(node) & register) === 0,
      head,
    ),
  );
  // What is nothing but a read has its name already.
  scopes.forEach((scope, j) => {
    const missing = shared.filter((node) => !scope.known.has(node));
    const names = write(scope, missing, head).map((text) => writer.named(text, head));
    (scopes as Scope[])[j] = {
      ...scope,
      known: new Map([...scope.known, ...missing.map((node, k) => [node, names[k]!] as const)]),
    };
  });
  return {
    before,
    head,
    scopes,
    at: (step, nodes, lines) =>
      new Map(
        nodes.map((node) => [
          node,
          writer.named(
            `subgroupShuffle(${scopes[Math.floor(step / lanes)]!.known.get(node)}, neighbours + ${step % lanes}u)`,
            lines,
          ),
        ]),
      ),
  };
}

/**
 * Sums of several values at once over threads whose numbers differ in some bits: two threads exchange one of two values
 * each, so that each has a sum of two, and so on.
 * @param bits Powers of two; the thread's value of the result is the one whose number has the bits that its own number has.
 * @returns values.length / 2^bits sums.
 */
export function exchange(
  writer: Writer,
  values: readonly string[],
  bits: readonly number[],
  lines: string[],
): string[] {
  let list = values;
  for (const bit of bits) {
    const next: string[] = [];
    for (let k = 0; k < list.length; k += 2) {
      const [x, y] = [list[k]!, list[k + 1] ?? "0.0"];
      next.push(
        writer.named(
          `select(${x}, ${y}, upper${bit}) + subgroupShuffleXor(select(${y}, ${x}, upper${bit}), ${bit}u)`,
          lines,
        ),
      );
    }
    list = next;
  }
  return [...list];
}

/** 1, 2, 4, ... below `end`, from `first`. */
export const bitsFrom = (first: number, end: number): number[] => {
  const bits: number[] = [];
  for (let bit = first; bit < end; bit *= 2) bits.push(bit);
  return bits;
};

/** Position of the thread's first state in the kept ones, in vectors of four: [kept, grid, C, N]. */
export const keptText = ({ layout: { N, C, gridSize }, own }: Lanes, kept: string): string =>
  `((${kept} * ${gridSize} + place) * ${C} + c) * ${N / 4} + mine * ${own / 4}`;
